//! The stable codes of problems.

/// Every code with its HTTP status (499 is only recorded: nobody is there to read it), its name on the wire and its title.
macro_rules! codes {
    ($($variant:ident: $status:literal $name:literal $title:literal;)*) => {
        /// The stable code of a problem. Codes are never renamed, and documented.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as it travels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub fn status(self) -> hyper::StatusCode {
                let number = match self { $(Self::$variant => $status,)* };
                hyper::StatusCode::from_u16(number).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The same for every problem of the code.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }

        impl std::fmt::Display for Code {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use codes;

codes! {
    AmbiguousFraming: 400 "ambiguous_framing" "Where the body ends is ambiguous";
    BadEncoding: 400 "bad_encoding" "The body is not what its encoding says";
    BodyTooLarge: 413 "body_too_large" "The body is too large";
    CaptureFull: 503 "capture_full" "Answers cannot be recorded now";
    CellTooLarge: 413 "cell_too_large" "A value is too long";
    ClientGone: 499 "client_gone" "The caller left before the answer";
    DuplicateKey: 422 "duplicate_key" "A name occurs twice";
    EmptyBody: 400 "empty_body" "The body is empty";
    ExpectationFailed: 417 "expectation_failed" "The expectation is not known";
    ExplanationUnavailable: 422 "explanation_unavailable" "The model cannot explain its answers";
    Internal: 500 "internal" "Something failed on our side";
    InvalidHeader: 400 "invalid_header" "A header is not acceptable";
    InvalidInferenceId: 400 "invalid_inference_id" "The inference id is not acceptable";
    InvalidLabel: 422 "invalid_label" "A label is not acceptable";
    InvalidQuery: 400 "invalid_query" "The query of the address is not acceptable";
    InvalidTensor: 422 "invalid_tensor" "A tensor is not what it says or not what the model takes";
    InvalidUtf8: 400 "invalid_utf8" "The body is not UTF-8 text";
    MalformedCsv: 400 "malformed_csv" "The body is not CSV";
    MalformedJson: 400 "malformed_json" "The body is not JSON";
    MethodNotAllowed: 405 "method_not_allowed" "The method is not allowed here";
    MissingFeature: 422 "missing_feature" "A feature is not given";
    MissingValue: 422 "missing_value" "A value is missing";
    ModelOutputInvalid: 500 "model_output_invalid" "The model's answer is not usable";
    ModelRefused: 424 "model_refused" "The model refused rows that fit its schema";
    NoEndpoint: 503 "no_endpoint" "There is no model to answer";
    NoReplica: 503 "no_replica" "No replica can answer now";
    NoRows: 400 "no_rows" "There are no rows";
    NotANumber: 422 "not_a_number" "A value is not a number";
    NotAcceptable: 406 "not_acceptable" "No acceptable form of answer";
    NotFinite: 422 "not_finite" "A value is infinite";
    NotFound: 404 "not_found" "There is nothing here";
    NumberOutOfRange: 422 "number_out_of_range" "A number is too large to be stored";
    Overloaded: 503 "overloaded" "There is more to do than can be done in time";
    ReplicaFailed: 502 "replica_failed" "The replicas that were asked did not answer";
    RequestTimeout: 408 "request_timeout" "The request took too long";
    TooDeep: 400 "too_deep" "The JSON is nested too deep";
    TooManyHeaders: 431 "too_many_headers" "There are too many header fields";
    TooManyRows: 413 "too_many_rows" "There are too many rows";
    UnknownEndpoint: 404 "unknown_endpoint" "There is no such endpoint";
    UnknownFeature: 422 "unknown_feature" "A name is not a feature";
    UnknownVariant: 404 "unknown_variant" "The endpoint has no such variant";
    UnsupportedDatatype: 422 "unsupported_datatype" "The data type is not supported";
    UnsupportedEncoding: 415 "unsupported_encoding" "The content encoding is not supported";
    UnsupportedMediaType: 415 "unsupported_media_type" "The content type is not supported";
    UriTooLong: 414 "uri_too_long" "The address is too long";
    WrongColumnCount: 422 "wrong_column_count" "A row has the wrong number of values";
    WrongType: 422 "wrong_type" "A value has the wrong type";
}

impl Code {
    /// Whose fault it is: true when the caller can do better.
    #[must_use]
    pub fn is_callers(self) -> bool {
        self.status().is_client_error() && self != Self::ModelRefused
    }
}
