// Sends one message with Nodemailer, as told by the environment.
const fs = require('fs');
const nodemailer = require('nodemailer');

const env = process.env;
const transporter = nodemailer.createTransport({
  host: env.SMTP_HOST,
  port: Number(env.SMTP_PORT),
  secure: env.SMTP_TLS === 'implicit',
  requireTLS: env.SMTP_TLS !== 'implicit',
  auth: { user: env.SMTP_USER, pass: env.SMTP_PASSWORD },
  tls: { ca: fs.readFileSync(env.SMTP_CA) },
});
const header = `From: "Your Name" <${env.SMTP_FROM}>\r\nTo: ${env.SMTP_TO}\r\nSubject: nodemailer\r\n\r\n`;
const envelope = { from: env.SMTP_FROM, to: [env.SMTP_TO], use8BitMime: true };

transporter.sendMail({ envelope, raw: header + env.SMTP_BODY }).then(
  (info) => {
    console.log(info.response);
    transporter.close();
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
