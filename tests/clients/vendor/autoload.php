<?php
// What Composer would put here: the distribution's packages.
require '/usr/share/php/libphp-phpmailer/autoload.php';
require '/usr/share/php/Symfony/Component/Mailer/autoload.php';
