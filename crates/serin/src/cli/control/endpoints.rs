//! `serin endpoints`, `deployments`, `deploy` and `rollback`.

use serde_json::{Value, json};

use super::args::{DeployArgs, EndpointsArgs, ListArgs, RollbackArgs};
use super::client::{Client, by, escaped, project, query};
use super::runs::wanted;
use super::words::{cell, entries, items, listed, moment, or_dash, plain, text, variants};
use super::{page, say_more, show};
use crate::cli::exit::Exit;

/// Lists what serves.
pub fn list(args: &EndpointsArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get(&format!("/endpoints{}", query(&[("project", args.project.clone())])))?;
    show(&args.look, &answer, |answer| table(items(answer)))
}

fn table(endpoints: &[Value]) -> String {
    let rows = endpoints.iter().map(|endpoint| {
        let watched = match endpoint["monitor"]["version"].as_u64() {
            Some(version) => format!("against version {version}"),
            None => "no".to_owned(),
        };
        let (project, stage) = (cell(endpoint, "project"), cell(endpoint, "stage"));
        vec![cell(endpoint, "name"), project, stage, variants(endpoint), moment(endpoint, "since"), watched]
    });
    let head = ["endpoint", "project", "stage", "version", "since", "watched"];
    listed(&head, rows.collect(), "nothing was deployed yet")
}

/// Lists changes of what serves.
pub fn deployments(args: &ListArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get(&format!("/deployments{}", query(&page(&args.page))))?;
    show(&args.look, &answer, |answer| history(items(answer)))?;
    say_more(&args.look, &answer);
    Ok(Exit::Done)
}

fn history(deployments: &[Value]) -> String {
    let rows = deployments.iter().map(|one| {
        let versions: Vec<String> = entries(one, "versions").iter().map(plain).collect();
        let kind = match (one["is_return"] == true, versions.is_empty()) {
            (_, true) => "removed",
            (true, false) => "back to",
            (false, false) => "to",
        };
        let (versions, reason) = (or_dash(versions.join(" + ")), text(one, "reason"));
        let (endpoint, run, by) = (cell(one, "endpoint"), cell(one, "run"), cell(one, "by"));
        vec![cell(one, "epoch"), moment(one, "time"), endpoint, kind.to_owned(), versions, run, by, reason]
    });
    let head = ["epoch", "time", "endpoint", "", "version", "run", "answered for by", "reason"];
    listed(&head, rows.collect(), "nothing was deployed yet")
}

/// Brings a version to a stage.
pub fn deploy(args: &DeployArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let project = text(&client.get(&format!("/versions/{}", args.number))?, "project");
    let body = json!({"version": args.number, "by": by(args.who.by.as_deref())?, "reason": args.reason});
    let path = format!("/projects/{}/stages/{}/deploy", escaped(&project), escaped(&args.stage));
    let answer = client.post(&path, &body)?;
    wanted(&client, &args.look, &answer, args.watch)
}

/// Goes back to what served before.
pub fn rollback(args: &RollbackArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let project = project(&client, args.project.as_deref())?;
    let body = json!({"to": args.to, "by": by(args.who.by.as_deref())?, "reason": args.reason});
    let path = format!("/projects/{}/stages/{}/rollback", escaped(&project), escaped(&args.stage));
    let answer = client.post(&path, &body)?;
    wanted(&client, &args.look, &answer, args.watch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_and_their_history_are_listed() {
        let endpoint = json!({"name": "prod", "project": "wine", "stage": "prod", "since": "2026-11-22T10:00:00Z",
            "variants": [{"name": "AllTraffic", "version": 5, "weight": 1.0}], "monitor": {"version": 5}});
        let listing = table(&[endpoint]);
        assert!(
            listing.contains("against version 5") && listing.contains("2026-11-22 10:00:00"),
            "{listing}"
        );
        let change = |is_return: bool, versions: &[u64]| {
            json!({"epoch": 3, "time": "2026-11-22T10:00:00Z", "endpoint": "prod", "run": 7, "versions": versions,
                "is_return": is_return, "by": "ann", "reason": "wrong\nsince noon"})
        };
        let listing = history(&[change(false, &[5]), change(true, &[4]), change(false, &[])]);
        let rows: Vec<&str> = listing.lines().collect();
        assert!(rows[1].contains(" to ") && rows[1].contains("wrong; since noon"), "{listing}");
        assert!(rows[2].contains("back to") && rows[3].contains("removed"), "{listing}");
    }
}
