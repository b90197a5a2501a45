#pragma once
// What goes to an upload that has been started: chunks, the question how far it is, the end, the cancellation.

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <support/registry/uploads.hpp>

namespace registry_test {

/// Where the body starts, by Content-Range; the present end of the upload when nothing says so.
/// With a refusal when it does not fit. With the mutex held.
inline std::optional<reply> refuse_range(core& c, exchange& x, std::shared_ptr<upload> const& session) {
    auto const text = x.record.header("Content-Range");
    auto const patch = x.record.kind == request_kind::patch_upload;
    auto start = std::uint64_t{0};
    if (text.empty()) {
        if (patch && c.check.rules.content_range) c.check.note(x.record, "Content-Range is missing");
        if (patch || session->size == 0) return std::nullopt; // taken as the next chunk, as most do
        c.check.note(x.record,
                     "sends to an upload that has " + std::to_string(session->size) + " bytes already");
    } else {
        auto plain = std::string_view{text};
        if (c.how.loose_content_range && plain.starts_with("bytes ")) plain.remove_prefix(6);
        if (c.how.loose_content_range) plain = plain.substr(0, plain.find('/'));
        auto const range = parse_bare_range(plain);
        if (!range) {
            c.check.note(x.record, "Content-Range " + text + " is not FIRST-LAST");
            return error_reply(c.how, 400, "BLOB_UPLOAD_INVALID", "invalid content range");
        }
        auto const announced = x.body.announced();
        if (announced && range->second - range->first + 1 != *announced) {
            c.check.note(x.record, "Content-Range " + text + " is not as long as Content-Length");
            return error_reply(c.how, 400, "SIZE_INVALID", "content range and length differ");
        }
        start = range->first;
        c.check.check_start(x.record, *session, start);
    }
    auto const any_start = c.how.stuck == stuck_range::discards && session->patches > 0;
    if (start == session->size || any_start) return std::nullopt;
    session->told = session->size;
    return upload_reply(c, x.record, session, 416);
}

/// The minimum holds for all chunks but the last, which shows only when another one comes.
inline void check_chunk_length(core& c, exchange& x, upload& session) {
    auto const length = x.body.announced().value_or(0);
    if (c.how.chunk_min_length == 0 || length == 0) return;
    if (session.short_chunk) c.check.note(x.record, "follows a chunk below OCI-Chunk-Min-Length");
    session.short_chunk = length < c.how.chunk_min_length;
}

/// What is to be done before the body is read. With the mutex held.
inline std::optional<reply> refuse_upload(core& c, exchange& x, std::shared_ptr<upload> const& session) {
    if (!c.check.check_location(x.record, *session) && c.how.location_state)
        return error_reply(c.how, 400, "BLOB_UPLOAD_INVALID", "the state of the upload is not the latest");
    if (x.body.expected())
        if (auto refusal = refuse_range(c, x, session)) return refusal;
    if (auto refusal = too_large(c, x)) return refusal;
    if (c.how.redirect_uploads != 0 && !x.record.other_port)
        return reply{.status = c.how.redirect_uploads,
                     .headers = {{"Location", "http://" + c.other_port.authority() + x.record.target}}};
    check_chunk_length(c, x, *session);
    return std::nullopt;
}

inline reply patch_upload(core& c, exchange& x) {
    claimed_upload const session{c, x.record};
    std::optional<std::uint64_t> limit;
    {
        std::scoped_lock const lock{c.mutex};
        if (!session) return upload_unknown(c.how);
        if (auto refusal = refuse_upload(c, x, session.shared())) return *refusal;
        auto const length = x.body.announced().value_or(0);
        if (c.how.stuck == stuck_range::discards && session->patches > 0) limit = 0;
        if (session->patches == 0 && c.how.range_behind_by != 0 && c.how.range_behind_by <= length)
            limit = length - c.how.range_behind_by;
    }
    receive_body(c, x, *session, limit);

    std::scoped_lock const lock{c.mutex};
    ++session->patches;
    session->told = session->size + c.how.range_ahead_by;
    if (session->patches == 1) session->told_first = session->told;
    if (c.how.stuck != stuck_range::no) session->told = session->told_first;
    return upload_reply(c, x.record, session.shared(), c.how.patch_answers_created ? 201 : 202);
}

inline reply put_upload(core& c, exchange& x) {
    claimed_upload const session{c, x.record};
    auto digest = std::string{};
    for (auto const& [name, value] : x.record.query)
        if (name == "digest") digest = value; // the client's stands last
    {
        std::scoped_lock const lock{c.mutex};
        if (!session) return upload_unknown(c.how);
        if (auto refusal = refuse_upload(c, x, session.shared())) return *refusal;
        if (!is_digest(digest)) return error_reply(c.how, 400, "DIGEST_INVALID", "invalid or missing digest");
        if (c.how.empty_closing_put_fails && !x.body.expected() && session->size != 0)
            return error_reply(c.how, 500, "UNKNOWN", "internal error");
    }
    receive_body(c, x, *session);
    c.pause([&] {
        std::scoped_lock const lock{c.mutex};
        return c.how.commit_delay;
    }());
    std::scoped_lock const lock{c.mutex};
    return commit_upload(c, x.record, *session, digest);
}

inline reply upload_status(core& c, exchange& x) {
    claimed_upload const session{c, x.record};
    std::scoped_lock const lock{c.mutex};
    if (!session || c.how.status_not_found) return upload_unknown(c.how);
    if (!c.check.check_location(x.record, *session) && c.how.location_state)
        return error_reply(c.how, 400, "BLOB_UPLOAD_INVALID", "the state of the upload is not the latest");
    if (c.how.stuck == stuck_range::no) session->told = session->size;
    return upload_reply(c, x.record, session.shared(), 204);
}

inline reply cancel_upload(core& c, exchange& x) {
    claimed_upload const session{c, x.record};
    std::scoped_lock const lock{c.mutex};
    if (!session) return upload_unknown(c.how);
    c.check.check_location(x.record, *session);
    c.held.uploads.erase(session->id);
    return {.status = 204};
}

} // namespace registry_test
