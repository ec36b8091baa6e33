<?php
// Serves one request to the guide's controller with the whole of Laravel, as a web server would, and prints the response.

use App\Http\Controllers\EmailController;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Http\Kernel;
use Illuminate\Http\Request;

require '/usr/share/php/Illuminate/autoload.php';
spl_autoload_register(function (string $class) {
    $file = __DIR__ . '/' . lcfirst(str_replace('\\', '/', $class)) . '.php';
    if (is_file($file)) {
        require $file;
    }
});
foreach (['bootstrap/cache', 'storage/framework/views'] as $folder) {
    mkdir(__DIR__ . '/' . $folder, 0700, true);
}

$app = new Application(__DIR__);
$app->singleton(ExceptionHandler::class, Illuminate\Foundation\Exceptions\Handler::class);
$app->router->post('/send-email', [EmailController::class, 'sendEmail']);
$request = Request::create('/send-email', 'POST', server: ['HTTP_ACCEPT' => 'application/json']);
echo $app->make(Kernel::class)->handle($request)->getContent();
