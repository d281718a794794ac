//! An Ansible inventory of hosts that are all the same sshd, under several names.

use super::site::Site;
use super::sshd::Sshd;

/// Writes the inventory: the sites' hosts in the group `web`, and `bystanders` that nothing should ever touch.
pub fn render(sshd: &Sshd, sites: &[Site], bystanders: &[&str], dir: &std::path::Path) -> String {
    let mut text = String::from("[web]\n");
    for site in sites {
        text.push_str(&format!(
            "{} start_service_url={} start_service_command='[\"{}\"]'\n",
            site.host,
            site.url(),
            site.start_script().display()
        ));
    }
    text.push_str("\n[bystanders]\n");
    for host in bystanders {
        text.push_str(host);
        text.push('\n');
    }
    text.push_str(&format!(
        "\n[all:vars]
ansible_host=127.0.0.1
ansible_port={}
ansible_user={}
ansible_ssh_private_key_file={}
ansible_ssh_common_args='{}'
ansible_python_interpreter=/usr/bin/python3
# What Ansible leaves on a host lies in the temporary folder too.
ansible_remote_tmp={}
",
        sshd.port,
        sshd.user,
        sshd.key.display(),
        sshd.client_options(),
        dir.join("remote").display(),
    ));
    text
}
