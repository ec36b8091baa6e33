//! SASL PLAIN (RFC 4616) and LOGIN, the server's and the client's side.
