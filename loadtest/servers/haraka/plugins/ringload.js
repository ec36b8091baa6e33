'use strict'

// The relay of a load test: every client may relay, domains go where config/ringload.json says, and nothing is
// delivered while it says `hold`.

// Seconds for which a message that is held waits: longer than any test, within the 2^31 ms of a timer.
const HELD_S = 1000000

exports.register = function () {
    const { routes, hold } = this.config.get('ringload.json')
    this.routes = routes
    if (hold) this.register_hook('send_email', 'wait')
}

// No look-up of the client's name.
exports.hook_lookup_rdns = (next) => next(OK, 'client.test')

exports.hook_connect = function (next, connection) {
    connection.relaying = true
    next()
}

exports.hook_rcpt = (next) => next(OK)

exports.wait = (next) => next(DELAY, HELD_S)

exports.hook_get_mx = function (next, hmail, domain) {
    const next_hop = this.routes[domain]
    if (next_hop) next(OK, next_hop)
    else next(DENY, 'no such destination')
}

exports.hook_bounce = function (next, hmail, error) {
    const recipients = error.bounced_rcpt || hmail.todo.rcpt_to
    for (const recipient of recipients) this.lognotice(`given up: ${recipient}`)
    next()
}
