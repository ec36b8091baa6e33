//! Service extensions: what EHLO offers and what a peer offers.
