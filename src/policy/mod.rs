//! Envelope and content rules: facts in, verdict out. Accounts, relay rights, From. Pure.
