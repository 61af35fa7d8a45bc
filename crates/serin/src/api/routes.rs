//! The addresses of the control interface, as data: what is not here is not answered.

use axum::http::Method;

/// What a caller will need to be allowed, once there are tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Nothing.
    Public,
    /// To look at anything.
    Read,
    /// To ask for runs, to cancel and to retry them.
    Run,
    /// To approve or reject what serves.
    Approve,
    /// To change what serves, and from which versions.
    Deploy,
    /// To change triggers, and to remove things.
    Manage,
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// There is none.
    Nothing,
    /// JSON, read before the handler is asked.
    Json,
    /// A file of this type, which the handler reads bit by bit within limits of its own.
    File(&'static str),
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub method: Method,
    /// Segments in braces stand for any one segment.
    pub pattern: &'static str,
    pub permission: Permission,
    pub takes: Takes,
}

/// Where the description of the interface is.
pub const OPENAPI: &str = "/api/v1/openapi.json";

/// All addresses.
pub static ROUTES: [Route; 65] = [
    Route::get(OPENAPI, Permission::Public),
    Route::get("/api/v1/health/live", Permission::Public),
    Route::get("/api/v1/health/ready", Permission::Public),
    // Where every scraper looks.
    Route::get("/metrics", Permission::Read),
    Route::get("/api/v1/status", Permission::Read),
    // Projects, and what asks for their runs
    Route::get("/api/v1/projects", Permission::Read),
    Route::post("/api/v1/projects", Permission::Manage, Takes::Json),
    Route::get("/api/v1/projects/{project}", Permission::Read),
    Route::delete("/api/v1/projects/{project}", Permission::Manage),
    Route::post("/api/v1/projects/{project}/runs", Permission::Run, Takes::Json),
    Route::post("/api/v1/projects/{project}/data", Permission::Run, Takes::File("application/zip")),
    Route::get("/api/v1/projects/{project}/alarms", Permission::Read),
    Route::post("/api/v1/projects/{project}/alarms", Permission::Run, Takes::Json),
    // Whoever has the secret of the webhook signs with it.
    Route::post("/api/v1/projects/{project}/hooks/push", Permission::Public, Takes::File("application/json")),
    Route::get("/api/v1/triggers", Permission::Read),
    Route::post("/api/v1/projects/{project}/triggers/{trigger}/pause", Permission::Manage, Takes::Json),
    Route::post("/api/v1/projects/{project}/triggers/{trigger}/resume", Permission::Manage, Takes::Json),
    // Runs
    Route::get("/api/v1/runs", Permission::Read),
    Route::get("/api/v1/runs/{run}", Permission::Read),
    Route::get("/api/v1/runs/{run}/steps/{step}", Permission::Read),
    Route::get("/api/v1/runs/{run}/logs", Permission::Read),
    Route::post("/api/v1/runs/{run}/cancel", Permission::Run, Takes::Json),
    Route::post("/api/v1/runs/{run}/retry", Permission::Run, Takes::Json),
    // Approvals
    Route::get("/api/v1/approvals", Permission::Read),
    Route::get("/api/v1/approvals/{approval}", Permission::Read),
    Route::post("/api/v1/approvals/{approval}/decision", Permission::Approve, Takes::Json),
    // The registry
    Route::get("/api/v1/versions", Permission::Read),
    Route::get("/api/v1/versions/compare", Permission::Read),
    Route::get("/api/v1/versions/{version}", Permission::Read),
    Route::get("/api/v1/versions/{version}/lineage", Permission::Read),
    Route::post("/api/v1/versions/{version}/decision", Permission::Approve, Takes::Json),
    Route::put("/api/v1/versions/{version}/tags/{key}", Permission::Deploy, Takes::Json),
    Route::delete("/api/v1/versions/{version}/tags/{key}", Permission::Deploy),
    Route::put("/api/v1/projects/{project}/aliases/{alias}", Permission::Deploy, Takes::Json),
    Route::delete("/api/v1/projects/{project}/aliases/{alias}", Permission::Deploy),
    // What serves
    Route::get("/api/v1/endpoints", Permission::Read),
    Route::get("/api/v1/deployments", Permission::Read),
    Route::get("/api/v1/served", Permission::Read),
    Route::post("/api/v1/projects/{project}/stages/{stage}/deploy", Permission::Deploy, Takes::Json),
    Route::post("/api/v1/projects/{project}/stages/{stage}/rollback", Permission::Deploy, Takes::Json),
    Route::post("/api/v1/projects/{project}/stages/{stage}/drill", Permission::Deploy, Takes::Json),
    // Replicas, and how many
    Route::get("/api/v1/replicas", Permission::Read),
    Route::post("/api/v1/replicas/{replica}/drain", Permission::Deploy, Takes::Json),
    Route::post("/api/v1/projects/{project}/stages/{stage}/scale", Permission::Deploy, Takes::Json),
    Route::get("/api/v1/projects/{project}/stages/{stage}/autoscale", Permission::Read),
    Route::get("/api/v1/projects/{project}/stages/{stage}/autoscale/history", Permission::Read),
    // Rollouts
    Route::get("/api/v1/rollouts", Permission::Read),
    Route::get("/api/v1/rollouts/{rollout}", Permission::Read),
    Route::post("/api/v1/rollouts/{rollout}/commands", Permission::Deploy, Takes::Json),
    // Live rows, metrics and alarms
    Route::get("/api/v1/projects/{project}/alarms/{alarm}", Permission::Read),
    Route::post("/api/v1/projects/{project}/alarms/{alarm}/silence", Permission::Manage, Takes::Json),
    Route::post("/api/v1/projects/{project}/alarms/{alarm}/test", Permission::Manage, Takes::Json),
    Route::get("/api/v1/projects/{project}/alarms/{alarm}/backtest", Permission::Read),
    Route::post("/api/v1/projects/{project}/stages/{stage}/looks", Permission::Run, Takes::Json),
    Route::get("/api/v1/projects/{project}/stages/{stage}/quality", Permission::Read),
    Route::get("/api/v1/looks", Permission::Read),
    Route::get("/api/v1/looks/{look}", Permission::Read),
    Route::get("/api/v1/metrics", Permission::Read),
    Route::get("/api/v1/metrics/query", Permission::Read),
    // History
    Route::get("/api/v1/events", Permission::Read),
    Route::get("/api/v1/decisions", Permission::Read),
    Route::get("/api/v1/decisions/{decision}", Permission::Read),
    Route::get("/api/v1/decisions/{decision}/replay", Permission::Read),
    Route::get("/api/v1/experiments", Permission::Read),
    Route::get("/api/v1/experiments/compare", Permission::Read),
];

impl Route {
    /// An address to look at.
    #[must_use]
    pub const fn get(pattern: &'static str, permission: Permission) -> Self {
        Self { method: Method::GET, pattern, permission, takes: Takes::Nothing }
    }

    /// An address that does something.
    #[must_use]
    pub const fn post(pattern: &'static str, permission: Permission, takes: Takes) -> Self {
        Self { method: Method::POST, pattern, permission, takes }
    }

    /// An address that is given a value.
    #[must_use]
    pub const fn put(pattern: &'static str, permission: Permission, takes: Takes) -> Self {
        Self { method: Method::PUT, pattern, permission, takes }
    }

    /// An address that can go.
    #[must_use]
    pub const fn delete(pattern: &'static str, permission: Permission) -> Self {
        Self { method: Method::DELETE, pattern, permission, takes: Takes::Nothing }
    }

    /// Whether a request with `method` is for this route; whoever may look may look at the head alone.
    #[must_use]
    pub fn answers(&self, method: &Method) -> bool {
        self.method == *method || (*method == Method::HEAD && self.method == Method::GET)
    }
}
