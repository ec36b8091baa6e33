// Sends the message in SMTP_MESSAGE as it is with Nodemailer, as told by the environment.
const nodemailer = require('nodemailer');

const env = process.env;
const transporter = nodemailer.createTransport({
  host: env.SMTP_HOST,
  port: Number(env.SMTP_PORT),
  secure: env.SMTP_TLS === 'implicit',
  requireTLS: env.SMTP_TLS !== 'implicit',
  auth: { user: env.SMTP_USER, pass: env.SMTP_PASSWORD },
});
const envelope = { from: env.SMTP_USER, to: [env.SMTP_TO], use8BitMime: true };

transporter.sendMail({ envelope, raw: env.SMTP_MESSAGE }).then(
  (info) => {
    console.log(info.response);
    transporter.close();
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
