//! What a status code (RFC 3463, and the codes registered since) means to someone who does not know SMTP.

use crate::smtp::reply::EnhancedCode;

/// Why, and what to do about it: whole sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What has happened.
    pub why: &'static str,
    /// What the sender can do.
    pub remedy: &'static str,
}

const fn because(why: &'static str, remedy: &'static str) -> Explanation {
    Explanation { why, remedy }
}

const ASK: &str = "Reach the recipient in another way, and tell them what their server says below.";
const CHECK_ADDRESS: &str = "Check the address for typing errors. If it is right, ask the recipient for their new one.";
const CHECK_DOMAIN: &str = "Check the part after @ for typing errors. If it is right, the recipient's domain is set up \
                            wrongly: reach them in another way.";
const LATER: &str = "Send the message again later. If it keeps failing, reach the recipient in another way.";
const SMALLER: &str = "Send a smaller message, for example with a link in place of the attachment.";
const OUR_SIDE: &str = "This is a matter of the sending side: forward this notice to your mail administrator.";
const POLICY: &str = "The reason should be in the server's words below. If they make no sense to you, forward this notice \
                      to your mail administrator.";

/// Explains `status`. The first figure only tells lasting from passing trouble, so it does not matter unless the rest
/// says nothing.
pub fn explain(status: EnhancedCode) -> Explanation {
    match (status.1, status.2) {
        (1, 1 | 6) => because("There is no mailbox with this address.", CHECK_ADDRESS),
        (1, 2) => because("The part of the address after @ does not exist.", CHECK_DOMAIN),
        (1, 3) => because("The address is not written correctly.", CHECK_ADDRESS),
        (1, 4) => because("The address fits more than one recipient there.", CHECK_ADDRESS),
        (1, 7 | 8) => because("The receiving server does not accept your sender address.", OUR_SIDE),
        (1, 10) => because("The recipient's domain has declared that it receives no mail.", CHECK_DOMAIN),
        (1, _) => because("The receiving server does not accept this address.", CHECK_ADDRESS),
        (2, 1) => because("The mailbox exists, but it is switched off.", ASK),
        (2, 2) => because("The recipient's mailbox is full.", "Tell the recipient, in another way, to make room."),
        (2, 3) => because("The message is larger than this mailbox accepts.", SMALLER),
        (2, 4) => because("The address is a mailing list that could not be expanded.", ASK),
        (2, _) => because("The recipient's mailbox could not take the message.", LATER),
        (3, 4) => because("The message is larger than the receiving server accepts.", SMALLER),
        (3, 1) => because("The receiving server has no room for messages.", LATER),
        (3, _) => because("The receiving server is not able to take messages now.", LATER),
        (4, 1) => because("The receiving server did not answer.", LATER),
        (4, 2) => because("The connection to the receiving server broke.", LATER),
        (4, 3) => because("The Internet's directory (DNS) gave no answer about the recipient's domain.", CHECK_DOMAIN),
        (4, 4) => because("There is no known way to the recipient's mail server.", CHECK_DOMAIN),
        (4, 5) => because("The receiving server was overloaded.", LATER),
        (4, 6) => because("The message went round in circles between mail servers.", OUR_SIDE),
        (4, 7) => because("All attempts during the time allowed for delivery were in vain.", LATER),
        (4, _) => because("The receiving server could not be reached.", LATER),
        (5, 3) => because("The message has more recipients than the receiving server accepts.", OUR_SIDE),
        (5, _) => because("The two mail servers did not understand each other.", OUR_SIDE),
        (6, 7) => because(
            "The address contains letters that the receiving server cannot handle.",
            "Ask the recipient for an address of plain Latin letters.",
        ),
        (6, _) => because("The receiving server cannot handle this kind of message.", OUR_SIDE),
        (7, 20..=32) => because("The receiving server could not verify that the message really is yours.", OUR_SIDE),
        (7, 10 | 11) => because("The receiving server asks for encryption that was not possible.", OUR_SIDE),
        (7, _) => because("The receiving server refused the message by its rules.", POLICY),
        _ if status.0 == 2 => because("The receiving server has accepted the message.", "There is nothing to do."),
        _ if status.0 == 4 => because("The receiving server did not take the message for the time being.", LATER),
        _ => because("The receiving server refused the message.", POLICY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_whole_sentences() {
        for class in [2, 4, 5] {
            for subject in 0..9 {
                for detail in 0..40 {
                    let Explanation { why, remedy } = explain(EnhancedCode(class, subject, detail));
                    assert!(why.ends_with('.') && remedy.ends_with('.'), "{class}.{subject}.{detail}");
                    assert!(!why.contains("  ") && !remedy.contains("  "), "{class}.{subject}.{detail}");
                }
            }
        }
    }

    #[test]
    fn the_usual_reasons_are_told_apart() {
        for (status, word) in [
            (EnhancedCode(5, 1, 1), "no mailbox"),
            (EnhancedCode(5, 2, 2), "full"),
            (EnhancedCode(4, 4, 7), "time allowed"),
            (EnhancedCode(5, 7, 26), "verify"),
            (EnhancedCode(5, 0, 0), "refused"),
            (EnhancedCode(4, 0, 0), "for the time being"),
        ] {
            assert!(explain(status).why.contains(word), "{status}");
        }
    }
}
