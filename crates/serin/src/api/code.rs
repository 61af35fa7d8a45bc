//! The codes of problems that only the control interface has.

use crate::gateway::code::codes;

codes! {
    ApprovalChanged: 409 "approval_changed" "What was seen is not what is asked about";
    ApprovalClosed: 409 "approval_closed" "The approval is closed";
    ApprovalExpired: 409 "approval_expired" "The approval expired";
    ArchiveCorrupt: 422 "archive_corrupt" "The archive is damaged";
    ArchiveDuplicate: 422 "archive_duplicate" "A name is in the archive twice";
    ArchiveEntries: 413 "archive_entries" "There are too many files in the archive";
    ArchiveEntryName: 422 "archive_entry_name" "A name in the archive is not expected";
    ArchiveEntryType: 422 "archive_entry_type" "A file of the archive is no regular file";
    ArchiveInconsistent: 422 "archive_inconsistent" "The archive contradicts itself";
    ArchiveInputs: 422 "archive_inputs" "The rows that the archive names cannot be used";
    ArchiveMethod: 422 "archive_method" "A file of the archive is packed by an unknown method";
    ArchiveOverlap: 422 "archive_overlap" "Files of the archive share bytes";
    ArchiveTooLarge: 413 "archive_too_large" "The archive is too large";
    Conflict: 409 "conflict" "It is not in a state that allows this";
    CrossOrigin: 403 "cross_origin" "A page of another origin asks";
    FourEyes: 409 "four_eyes" "Another person must decide";
    GatewayUnreachable: 503 "gateway_unreachable" "The gateway cannot be asked";
    HookForged: 401 "hook_forged" "The call is not signed with the secret";
    Hyperparameter: 422 "hyperparameter" "A hyperparameter is not acceptable";
    IdempotencyConflict: 409 "idempotency_conflict" "The idempotency key was used for another request";
    IdempotencyInHand: 409 "idempotency_in_hand" "A request with this idempotency key is in hand";
    Incomplete: 422 "incomplete" "Who decides, or why, is not said";
    InvalidBody: 422 "invalid_body" "The body is not what this address takes";
    InvalidIdempotencyKey: 400 "invalid_idempotency_key" "The idempotency key is not acceptable";
    MisdirectedRequest: 421 "misdirected_request" "The host is not this one";
    NotReady: 503 "not_ready" "No engine carries runs on";
    NotReplayable: 409 "not_replayable" "The decision cannot be made again";
    NothingBefore: 409 "nothing_before" "Nothing that may serve served before";
    ReplicasOutOfRange: 422 "replicas_out_of_range" "So many replicas are not possible";
    SettingsInvalid: 409 "settings_invalid" "The project's settings cannot be used";
    StorageFull: 507 "storage_full" "No space is left";
    StorageUnavailable: 503 "storage" "The disk refused";
    VersionNotApproved: 409 "version_not_approved" "The version is not approved";
    VersionRejected: 409 "version_rejected" "The version was rejected";
}
