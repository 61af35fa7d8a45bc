//! Who is at the keyboard.

use std::os::unix::fs::MetadataExt as _;

/// The login name of this process' user: what the system's list of users says, else the environment.
#[must_use]
pub fn name() -> Option<String> {
    let listed = || {
        let user = std::fs::metadata("/proc/self").ok()?.uid();
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        listed_as(&users, user)
    };
    let variable = |name| std::env::var(name).ok().filter(|name| !name.trim().is_empty());
    listed().or_else(|| variable("USER")).or_else(|| variable("LOGNAME"))
}

fn listed_as(users: &str, user: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(user) && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\n\n# odd\nann:x:1000:1000::/home/ann:/bin/sh\n:x:7:7:::\n";
        for (user, name) in [(0, Some("root")), (1000, Some("ann")), (7, None), (42, None)] {
            assert_eq!(listed_as(users, user).as_deref(), name);
        }
    }
}
