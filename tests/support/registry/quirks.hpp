#pragma once
// Switches: how this registry differs from one that follows the distribution specification to the letter, with a
// word on who does so. All default to the letter. Initializers that name several keep to the order here.

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <support/registry/text.hpp>

namespace registry_test {

enum class auth_mode { none, basic, bearer };

enum class token_names { token, access_token, both, none };

/// Who may come in, and how the token endpoint /token answers.
struct auth_settings {
    auth_mode mode = auth_mode::none;
    std::string user = "user";
    std::string password = "secret";
    std::string refresh_token = "refresh-me"; ///< what the OAuth2 POST takes as identity token
    std::string service = "test-registry";
    bool anonymous_tokens = false; ///< tokens without credentials, as for public images
    bool anonymous_push = false;   ///< such tokens may push as well
    token_names names = token_names::token;
    std::string expires_in = "300"; ///< JSON as it will stand there: "", which leaves it out, "0", "\"300\""
    std::chrono::milliseconds lifetime{300'000}; ///< for real, whatever expires_in says (Docker Hub: 300 s)
    int get_status = 0;               ///< GET /token answers this instead; ACR: 404 for identity tokens
    int post_status = 0;              ///< POST /token answers this instead: many have no OAuth2, 404 or 405
    std::string redirect{};           ///< the token endpoint answers 302 to here: a thief's trick
    bool realm_on_other_port = false; ///< Docker Hub, GitLab: the realm is another origin
    std::string realm{}; ///< in the challenge instead of our own; {authority} and {other} are filled in
    /// Repositories for which a token request is refused as a whole, 403.
    std::set<std::string> refused_scopes{};
};

enum class stuck_range {
    no,
    discards, ///< ECR: from the second PATCH on the bytes vanish, and Range stays
    keeps,    ///< ECR, by other reports: the bytes are there, Range stays
};

enum class mount_answer {
    as_asked, ///< 201 when the source has the blob, otherwise 202 with a session
    session,  ///< 202 always: Artifactory
    unauthorized,
    forbidden,
    not_found,
    not_allowed, ///< 405
    bad_request, ///< Docker Hub for a foreign name
    server_error,
};

enum class digest_header { right, absent, other_algorithm, wrong };

enum class location_form {
    path,              ///< /v2/...
    relative,          ///< resolved against the request's own path
    absolute,          ///< http://same-host/v2/...
    protocol_relative, ///< //same-host/v2/...
    other_port,        ///< another origin, to which no credentials may go
    missing,
    twice,  ///< two headers: the right one, and one to the other port
    scheme, ///< location_scheme instead of http
};

enum class error_form { json, html, empty, huge, escapes };

struct quirks {
    // --- who may do what
    auth_settings auth{};
    bool read_only = false;                      ///< writes answer 405: a pull-through cache
    int read_only_status = 405;                  ///< or 403
    std::set<std::string> denied_repositories{}; ///< 403 DENIED
    bool immutable_tags = false;                 ///< ECR: 400 "already exists", even for the same digest
    /// WWW-Authenticate of a 401 instead of our own; {authority} and {other} are filled in.
    std::vector<std::string> challenges{};

    // --- uploads
    bool patch_answers_created = false;  ///< ECR: 201 instead of 202
    stuck_range stuck = stuck_range::no; ///< ECR
    /// The first PATCH of an upload loses that many bytes at its end, and says so.
    std::uint64_t range_behind_by = 0;
    std::uint64_t range_ahead_by = 0;     ///< Range claims bytes that never came
    bool status_not_found = false;        ///< ECR public: GET of an upload is always 404
    bool empty_closing_put_fails = false; ///< ECR 2022: 500 unless the last bytes come with the PUT
    bool loose_content_range = false;     ///< "bytes 0-9/*" is understood; ACR and the letter refuse it
    std::uint64_t max_body = 0; ///< 413 above, answered early, then closed: Cloudflare 100 MB, nginx 1 MB
    std::uint64_t chunk_min_length = 0; ///< OCI-Chunk-Min-Length: GAR, ECR
    bool single_post = true;            ///< POST ?digest= takes the body; without it: 202, as most do
    bool keep_partial_bodies = true;    ///< bytes of a broken request stay in the session
    /// distribution 2: 401 for DELETE of an upload, unless the token allows to delete.
    bool cancel_needs_delete = false;
    mount_answer mount = mount_answer::as_asked;
    bool mount_needs_from = false; ///< Quay: mount without from is 400
    int redirect_uploads = 0;      ///< 307 or 308 to the other port for PATCH and PUT

    // --- Location of uploads
    location_form location = location_form::path;
    std::string location_scheme = "file"; ///< for location_form::scheme: file, gopher, unix
    bool location_state = false;    ///< a _state that changes with each answer: distribution, Harbor, Quay
    bool location_digest = false;   ///< a digest= that means nothing
    bool location_singular = false; ///< GHCR: /blobs/upload/
    bool location_fragment = false; ///< "#part", which must not come back
    bool location_long = false;     ///< 8 KiB: signed URLs of clouds

    // --- reading
    int head_manifest_status = 0; ///< 405: then GET has to do
    int head_blob_status = 0;     ///< 400, 405
    bool head_without_length = false;
    digest_header digest_headers = digest_header::right;
    bool redirect_blobs = false;  ///< 307 to the other port: S3 and the like behind Docker Hub, Quay, GHCR
    bool ignores_range = false;   ///< GET of a blob is always whole
    bool truncated_blobs = false; ///< half of the blob, then the connection ends
    bool corrupted_blobs = false; ///< right length, wrong bytes
    std::string manifest_content_type{}; ///< said instead of the manifest's own
    bool referrers = true;               ///< false: 404, and no OCI-Subject; then tags are the fallback
    std::uint64_t tag_page = 0;          ///< at most so many tags at once; ECR: n > 1000 is 400

    // --- manifests
    unsigned blob_unknown_times = 0; ///< eventual consistency: so many manifest PUTs do not find their blobs
    unsigned loses_blobs = 0;        ///< so many manifest PUTs find their last blob gone for good (GC)
    bool sparse_indexes = false;     ///< an index is taken although children are missing
    bool unknown_blob_is_not_found = true; ///< MANIFEST_BLOB_UNKNOWN with 404, otherwise with 400

    // --- manners
    bool session_cookies = false; ///< Harbor: sent with every answer, never to come back
    error_form errors = error_form::json;
    field_list extra_headers{};                ///< on every answer of the API: Warning, X-Request-Id
    std::chrono::milliseconds header_delay{0}; ///< before every answer
    std::chrono::milliseconds commit_delay{0}; ///< before the answer to a closing PUT: Harbor, S3
    std::uint64_t read_bytes_per_second = 0;   ///< bodies are read that slowly

    /// false: of uploaded blobs only hash and size stay, so that gigabytes cost nothing.
    bool keep_content = true;
};

/// What is checked of the client. Where a test wants two pushes to meet, some do not hold.
struct checks {
    /// Every PATCH says where it starts; clients of old stream the whole blob without.
    bool content_range = true;
    bool digest_before_tag = true; ///< a manifest is put by digest before its tag is: many put the tag alone
    bool tag_is_last = true;     ///< nothing is written to a repository after its tag; new_push() starts anew
    bool blobs_confirmed = true; ///< manifests follow what they name
    bool asked_for_credentials = true; ///< no Authorization where none was asked for
    std::size_t max_transfers = 0;     ///< blobs on their way up at the same time; 0: any number
};

} // namespace registry_test
