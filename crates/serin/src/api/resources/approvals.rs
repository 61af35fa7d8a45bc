//! Questions to people, and their answers.

use axum::extract::State;
use serde::Deserialize;
use serin_core::digest::Digest;
use serin_core::domain::{self, ApprovalNumber, Decided};
use utoipa::ToSchema;

use super::super::ask::{Answer, Plane, answer, missing};
use super::super::extract::{Body, Filter, Named};
use super::super::problem::{Code, Problem};
use super::super::wire;
use super::runs::document;

/// An answer to a question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    verdict: Verdict,
    /// Who answers.
    by: String,
    /// Why.
    reason: String,
    /// The digest `shown` of what was looked at: another one is refused.
    seen: Option<String>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Approve,
    Reject,
}

/// Approvals, latest first.
#[utoipa::path(get, path = "/api/v1/approvals", tag = "approvals", params(wire::OpenPage),
    responses((status = 200, body = wire::List<wire::Approval>)))]
pub async fn list_approvals(
    State(control): Plane,
    Filter(page): Filter<wire::OpenPage>,
) -> Answer<wire::List<wire::Approval>> {
    let options = page.options()?;
    answer(&control, move |control| {
        let approvals = control.store.approvals(&options)?;
        Ok(wire::List::of(approvals, &options, |approval| approval.number.0, |approval| (&approval).into()))
    })
    .await
}

/// An approval with the sheet that its approver is shown.
#[utoipa::path(get, path = "/api/v1/approvals/{approval}", tag = "approvals", params(("approval" = u64, Path)),
    responses((status = 200, body = wire::Approval)))]
pub async fn show_approval(State(control): Plane, Named(number): Named<u64>) -> Answer<wire::Approval> {
    answer(&control, move |control| {
        let approval = control.store.approval(ApprovalNumber(number))?;
        let approval = approval.ok_or_else(|| missing("approval", number))?;
        // An approval whose sheet is lost can still be looked at, and rejected.
        let sheet = document(control, &approval.subject.shown).inspect_err(|problem| {
            tracing::error!(approval = number, problem, "the sheet of an approval cannot be read");
        });
        Ok(wire::Approval { sheet: sheet.ok(), ..(&approval).into() })
    })
    .await
}

/// Answer a question, once.
#[utoipa::path(post, path = "/api/v1/approvals/{approval}/decision", tag = "approvals",
    params(("approval" = u64, Path)), request_body = Decision, responses((status = 200, body = wire::Approval)))]
pub async fn decide_approval(
    State(control): Plane,
    Named(number): Named<u64>,
    Body(decision): Body<Decision>,
) -> Answer<wire::Approval> {
    let decided = decision.checked()?;
    answer(&control, move |control| {
        let now = control.moments.now();
        let approval = control.store.decide_approval(ApprovalNumber(number), &decided, now)?;
        let approval = approval.map_err(Problem::from)?;
        control.engine.waker().wake();
        Ok((&approval).into())
    })
    .await
}

impl Decision {
    fn checked(self) -> Result<Decided, Problem> {
        use super::super::ask::{name_of, reason_of};
        let seen: Option<Digest> = self.seen.map(|seen| seen.parse()).transpose().map_err(|error| {
            Problem::new(Code::InvalidBody, format!("`seen` is the digest that was shown: {error}"))
        })?;
        let verdict = match self.verdict {
            Verdict::Approve => domain::Verdict::Approve,
            Verdict::Reject => domain::Verdict::Reject,
        };
        Ok(Decided { verdict, by: name_of(&self.by)?, reason: reason_of(Some(&self.reason), None)?, seen })
    }
}
