<?php

return [
    'default' => 'nowhere',
    'channels' => ['nowhere' => ['driver' => 'monolog', 'handler' => Monolog\Handler\NullHandler::class]],
];
