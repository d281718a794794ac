//! Explains a failed login, with a remedy. Pure.

use super::finding::{Area, Finding};
use crate::ansible::TaskReport;

/// The known parameters of the login to a host.
pub(super) struct Way<'a> {
    pub(super) name: &'a str,
    pub(super) address: &'a str,
    pub(super) port: &'a str,
    /// The remote user, if the configuration sets one.
    pub(super) user: Option<&'a str>,
}

/// A cause of a failed login.
struct Cause {
    /// Lower-case fragments of a message, each of which identifies the cause.
    signs: &'static [&'static str],
    means: &'static str,
    remedy: fn(&Way<'_>) -> String,
}

impl Way<'_> {
    /// Returns the command for a manual login.
    pub(super) fn login(&self) -> String {
        let port = match self.port {
            "22" => String::new(),
            port => format!("-p {port} "),
        };
        let user = self
            .user
            .map_or_else(String::new, |user| format!("{user}@"));
        format!(
            "`ssh {port}{user}{}` as the user that runs promansible",
            self.address
        )
    }

    /// Describes the remote user. The inventory may set another one, which is unknown here.
    fn remote_user(&self) -> String {
        match self.user {
            Some(user) => format!("the remote user ({user}, unless the inventory sets another)"),
            None => "the remote user".to_owned(),
        }
    }

    /// Describes how to compare a host key before trusting it.
    fn compare(&self) -> String {
        format!(
            "list its keys with `ssh-keyscan -p {} {} | ssh-keygen -lf -`, and compare the fingerprints with those shown on \
             the console of the host (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`)",
            self.port, self.address
        )
    }
}

/// The causes in order of precedence, because a message may match several.
const CAUSES: [Cause; 16] = [
    Cause {
        signs: &["could not resolve hostname", "name or service not known"],
        means: "its name does not resolve",
        remedy: |way| {
            format!(
                "correct DNS or /etc/hosts for {}, or set ansible_host in the inventory",
                way.address
            )
        },
    },
    Cause {
        signs: &["connection refused"],
        means: "nothing listens on its ssh port",
        remedy: |way| {
            format!(
                "start sshd on {}, or correct ansible_host and ansible_port (now {})",
                way.address, way.port
            )
        },
    },
    Cause {
        signs: &["no route to host", "network is unreachable"],
        means: "there is no route to its network",
        remedy: |way| format!("correct the route to {}, or its ansible_host", way.address),
    },
    Cause {
        signs: &[
            "host identification has changed",
            "host key for",
            "offending ",
        ],
        means: "its host key differs from the one in known_hosts",
        remedy: |way| {
            let at = match way.port {
                "22" => way.address.to_owned(),
                port => format!("[{}]:{port}", way.address),
            };
            format!(
                "the host was reinstalled, or someone intercepts the connection: {}. Only if they are equal: ssh-keygen -R '{at}', and log in \
                 once with {}",
                way.compare(),
                way.login()
            )
        },
    },
    Cause {
        signs: &["host key verification failed", "host key is known"],
        means: "its host key is not in known_hosts",
        remedy: |way| {
            format!(
                "{}. Only if they are equal, log in once with {}",
                way.compare(),
                way.login()
            )
        },
    },
    Cause {
        signs: &["unprotected private key", "bad permissions"],
        means: "ssh rejects the private key, because other users can read it",
        remedy: |_| "chmod 600 the key".to_owned(),
    },
    Cause {
        signs: &["sshpass"],
        means: "a login with a password requires sshpass",
        remedy: |_| "apt install sshpass, or log in with a key".to_owned(),
    },
    Cause {
        signs: &[
            "permission denied (",
            "permission denied, please",
            "too many authentication failures",
            "invalid/incorrect password",
        ],
        means: "it refuses the login",
        remedy: |way| {
            format!(
                "add the public key of the user that runs promansible to ~/.ssh/authorized_keys of {} on the host; then try {}",
                way.remote_user(),
                way.login()
            )
        },
    },
    Cause {
        signs: &[
            "missing sudo password",
            "a password is required",
            "incorrect sudo password",
            "missing become password",
        ],
        means: "sudo requires a password",
        remedy: |way| {
            format!(
                "let {} run sudo without one (`NOPASSWD: ALL` in /etc/sudoers.d, with visudo), or set ansible.become_password_file",
                way.remote_user()
            )
        },
    },
    Cause {
        signs: &[
            "not in the sudoers file",
            "not allowed to execute",
            "may not run sudo",
        ],
        means: "the remote user may not use sudo",
        remedy: |way| {
            format!(
                "allow it for {} in /etc/sudoers.d, with visudo",
                way.remote_user()
            )
        },
    },
    Cause {
        signs: &["must have a tty"],
        means: "sudo requires a terminal",
        remedy: |_| "remove `requiretty` from /etc/sudoers on the host".to_owned(),
    },
    Cause {
        signs: &[
            "sudo: not found",
            "sudo: command not found",
            "sudo: no such file",
        ],
        means: "sudo was not found",
        remedy: |_| "install sudo on the host, or set become_method in the inventory".to_owned(),
    },
    Cause {
        signs: &[
            "this account is currently not available",
            "account has expired",
            "nologin",
        ],
        means: "the remote user may not log in",
        remedy: |_| "give the remote user a shell, or set another user in ansible.user".to_owned(),
    },
    Cause {
        signs: &[
            "no python interpreters found",
            "python: not found",
            "python3: not found",
            "python3: no such file",
            "python: no such file",
            "interpreter was not found",
        ],
        means: "Python was not found",
        remedy: |_| "install python3 on the host, or correct ansible_python_interpreter".to_owned(),
    },
    Cause {
        signs: &["vault"],
        means: "its variables cannot be decrypted",
        remedy: |_| "set ansible.vault_password_file or ansible.vault_identities".to_owned(),
    },
    Cause {
        signs: &["timed out", "timeout"],
        means: "it does not answer in time",
        remedy: |way| {
            format!(
                "check that it is up, and that no firewall blocks port {} of {}",
                way.port, way.address
            )
        },
    },
];

/// Explains a failed task.
pub(super) fn explain(way: &Way<'_>, report: &TaskReport) -> Finding {
    let said = report.message.as_deref().unwrap_or("no message");
    let lower = said.to_lowercase();
    let user = refused_user(said).or(way.user);
    let way = &Way { user, ..*way };
    let has = |sign: &&str| lower.contains(*sign);
    match CAUSES.iter().find(|cause| cause.signs.iter().any(has)) {
        Some(cause) => Area::Hosts.error(way.name, cause.means, (cause.remedy)(way)),
        None => Area::Hosts.error(
            way.name,
            format!("{} fails: {said}", stage(&report.task)),
            format!("try {}", way.login()),
        ),
    }
}

/// Returns the user in ssh's message about a rejected login: `USER@HOST: Permission denied (publickey).`
fn refused_user(said: &str) -> Option<&str> {
    let (before, _) = said.split_once(": Permission denied")?;
    let (user, _) = before.split_whitespace().next_back()?.split_once('@')?;
    Some(user).filter(|user| !user.is_empty())
}

/// Returns the name of a task of the play for the report.
fn stage(task: &str) -> &str {
    match task {
        "python" => "Python",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::run::TaskStatus;

    fn explained(task: &str, message: &str) -> (String, String) {
        let way = Way {
            name: "web1",
            address: "10.0.0.1",
            port: "2222",
            user: Some("deploy"),
        };
        let report = TaskReport {
            host: "web1".to_owned(),
            role: None,
            task: task.to_owned(),
            action: "raw".to_owned(),
            status: TaskStatus::Failed,
            duration_seconds: 0.0,
            message: Some(message.to_owned()),
            findings: None,
        };
        let finding = explain(&way, &report);
        (finding.message, finding.remedy.unwrap())
    }

    #[test]
    fn messages_of_ssh_and_sudo_get_a_meaning_and_a_remedy() {
        let ssh = "Failed to connect to the host via ssh: ";
        for (said, means) in [
            (
                "ssh: Could not resolve hostname web1: Name or service not known",
                "its name does not resolve",
            ),
            (
                "ssh: connect to host 10.0.0.1 port 22: Connection refused",
                "nothing listens on its ssh port",
            ),
            (
                "ssh: connect to host 10.0.0.1 port 22: Connection timed out",
                "it does not answer in time",
            ),
            (
                "ssh: connect to host 10.0.0.1 port 22: No route to host",
                "there is no route to its network",
            ),
            (
                "Host key verification failed.",
                "its host key is not in known_hosts",
            ),
            (
                "No ED25519 host key is known for [10.0.0.1]:2222 and you have requested strict checking.\r\nHost key verification failed.",
                "its host key is not in known_hosts",
            ),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                "its host key differs from the one in known_hosts",
            ),
            (
                "deploy@10.0.0.1: Permission denied (publickey).",
                "it refuses the login",
            ),
            ("sudo: a password is required", "sudo requires a password"),
            ("Missing sudo password", "sudo requires a password"),
            (
                "deploy is not in the sudoers file.",
                "the remote user may not use sudo",
            ),
            (
                "/bin/sh: 1: /usr/bin/python3: not found",
                "Python was not found",
            ),
            (
                "sudo: a terminal is required; sudo: a password is required",
                "sudo requires a password",
            ),
        ] {
            let (message, remedy) = explained("login", &format!("{ssh}{said}"));
            assert_eq!(message, means, "{said}");
            assert!(!remedy.is_empty());
        }
        let (message, remedy) = explained("python", "SyntaxError");
        assert_eq!(message, "Python fails: SyntaxError");
        assert_eq!(
            remedy,
            "try `ssh -p 2222 deploy@10.0.0.1` as the user that runs promansible"
        );
    }

    #[test]
    fn a_rejected_login_names_the_user_that_ssh_names() {
        let said =
            "Failed to connect to the host via ssh: root@10.0.0.1: Permission denied (publickey).";
        let (_, remedy) = explained("login", said);
        assert!(remedy.contains("`ssh -p 2222 root@10.0.0.1`"), "{remedy}");
    }

    #[test]
    fn no_host_key_is_trusted_without_a_comparison() {
        for said in [
            "Host key verification failed.",
            "REMOTE HOST IDENTIFICATION HAS CHANGED",
        ] {
            let (_, remedy) = explained("login", said);
            assert!(remedy.contains("ssh-keyscan -p 2222 10.0.0.1"), "{remedy}");
            assert!(remedy.contains("compare the fingerprints"), "{remedy}");
            assert!(remedy.contains("Only if they are equal"), "{remedy}");
            assert!(
                !remedy.contains(">>") && !remedy.contains("StrictHostKeyChecking"),
                "{remedy}"
            );
        }
    }
}
