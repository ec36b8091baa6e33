// Runs inside Thunderbird (see thunderbird.py): what a user does with the mouse, and what the user is shown.
const [settings, done] = arguments;
const { MailServices } = ChromeUtils.importESModule('resource:///modules/MailServices.sys.mjs');
const shown = [];
const explained = Promise.withResolvers();

function show(words) {
  shown.push(words);
  explained.resolve();
}

/** Reads every dialog out and dismisses it. */
function watchDialogs() {
  Services.obs.addObserver((dialog) => {
    show(dialog.document.getElementById('infoBody').textContent);
    const buttons = dialog.document.querySelector('dialog');
    const cancel = buttons.getButton('cancel');
    (cancel && !cancel.hidden ? cancel : buttons.getButton('accept')).click();
  }, 'common-dialog-loaded');
}

function trust(pem) {
  const base64 = pem.split('-----')[2].replace(/\s/g, '');
  Cc['@mozilla.org/security/x509certdb;1'].getService(Ci.nsIX509CertDB).addCertFromBase64(base64, 'C,,');
}

async function remember(password) {
  const login = Cc['@mozilla.org/login-manager/loginInfo;1'].createInstance(Ci.nsILoginInfo);
  const origin = `smtp://${settings.host}`;
  login.init(origin, null, origin, settings.user, password, '', '');
  await Services.logins.addLoginAsync(login);
}

/** The account's identity, with its outgoing server. */
function setUp() {
  const server = MailServices.outgoingServer.createServer('smtp');
  server.QueryInterface(Ci.nsISmtpServer);
  server.hostname = settings.host;
  server.port = settings.port;
  server.socketType = settings.tls === 'implicit' ? Ci.nsMsgSocketType.SSL : Ci.nsMsgSocketType.alwaysSTARTTLS;
  server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
  server.username = settings.user;
  const identity = MailServices.accounts.createIdentity();
  identity.fullName = 'Your Name';
  identity.email = settings.from;
  identity.composeHtml = false;
  identity.doFcc = false;
  identity.smtpServerKey = server.key;
  const account = MailServices.accounts.createAccount();
  account.incomingServer = MailServices.accounts.createIncomingServer('nobody', 'Local', 'none');
  account.addIdentity(identity);
  return identity;
}

/** Opens the window in which a message is written; resolves to it when it can be used. */
function write(identity) {
  const fields = Cc['@mozilla.org/messengercompose/composefields;1'].createInstance(Ci.nsIMsgCompFields);
  fields.to = settings.to;
  fields.subject = settings.subject;
  fields.body = settings.text;
  const parameters = Cc['@mozilla.org/messengercompose/composeparams;1'].createInstance(Ci.nsIMsgComposeParams);
  parameters.identity = identity;
  parameters.type = Ci.nsIMsgCompType.New;
  parameters.format = Ci.nsIMsgCompFormat.PlainText;
  parameters.composeFields = fields;
  return new Promise((resolve) => {
    const opened = (window) => {
      Services.ww.unregisterNotification(opened);
      window.addEventListener('compose-editor-ready', () => resolve(window), { once: true });
    };
    Services.ww.registerNotification(opened);
    MailServices.compose.OpenComposeWindowWithParams(null, parameters);
  });
}

/** Presses Send; resolves to whether the message went out. */
function send(window) {
  return new Promise((resolve) => {
    window.gMsgCompose.addMsgSendListener({
      QueryInterface: ChromeUtils.generateQI(['nsIMsgSendListener']),
      onStartSending() {},
      onProgress() {},
      onStatus() {},
      onSendNotPerformed: () => resolve(false),
      onGetDraftFolderURI() {},
      onTransportSecurityError: (id, status, info) => show(`certificate: ${info?.errorCodeString}`),
      onStopSending: (id, status) => resolve(Components.isSuccessCode(status)),
    });
    window.goDoCommand('cmd_sendNow');
  });
}

(async () => {
  try {
    watchDialogs();
    if (settings.authority) {
      trust(settings.authority);
    }
    await remember(settings.password);
    const sent = await send(await write(setUp()));
    if (!sent) {
      await explained.promise;
    }
    done(`${sent ? 'sent' : 'not sent'}\n${shown.join('\n')}`);
  } catch (error) {
    done(`failed: ${error}\n${error.stack}\n${shown.join('\n')}`);
  }
})();
