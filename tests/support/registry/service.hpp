#pragma once
// One request from its head to its answer: recorded, met by its fault, authorized, served.

#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include <support/registry/auth.hpp>
#include <support/registry/blobs.hpp>
#include <support/registry/chunks.hpp>
#include <support/registry/manifests.hpp>
#include <support/registry/uploads.hpp>

namespace registry_test {

inline reply serve_api(core& c, exchange& x) {
    switch (x.record.kind) {
    case request_kind::ping:
        return {.headers = {{"Docker-Distribution-Api-Version", "registry/2.0"}}, .body = "{}"};
    case request_kind::head_blob:
        return head_blob(c, x);
    case request_kind::get_blob:
        return get_blob(c, x);
    case request_kind::delete_blob:
        return delete_blob(c, x);
    case request_kind::start_upload:
        return start_upload(c, x);
    case request_kind::mount:
        return mount_blob(c, x);
    case request_kind::patch_upload:
        return patch_upload(c, x);
    case request_kind::put_upload:
        return put_upload(c, x);
    case request_kind::upload_status:
        return upload_status(c, x);
    case request_kind::cancel_upload:
        return cancel_upload(c, x);
    case request_kind::head_manifest:
    case request_kind::get_manifest:
        return get_manifest(c, x);
    case request_kind::put_manifest:
        return put_manifest(c, x);
    case request_kind::delete_manifest:
        return delete_manifest(c, x);
    case request_kind::list_tags:
        return list_tags(c, x);
    case request_kind::list_referrers:
        return list_referrers(c, x);
    case request_kind::token:
        return serve_token(c, x);
    case request_kind::other:
        break;
    }
    std::scoped_lock const lock{c.mutex};
    return error_reply(c.how, 404, "UNSUPPORTED", "no such thing here");
}

/// Names are looked at and credentials are, then the work begins.
inline reply serve(core& c, exchange& x) {
    if (x.record.kind != request_kind::token) {
        std::scoped_lock const lock{c.mutex};
        if (auto refusal = refuse(c, x.record)) return *refusal;
        if (!x.record.repository.empty() && !is_repository_name(x.record.repository))
            return error_reply(c.how, 400, "NAME_INVALID", "invalid repository name");
    }
    return serve_api(c, x);
}

/// Bytes of blobs come up with these. Downloads do not count: a client has all of one before we know that it has.
inline bool is_transfer(exchange const& x) {
    auto const kind = x.record.kind;
    return x.body.expected() && (kind == request_kind::patch_upload || kind == request_kind::put_upload ||
                                 kind == request_kind::start_upload);
}

inline std::shared_ptr<request_record> new_record(core& c, request_head const& head, bool other_port,
                                                  std::size_t connection_id) {
    auto record = std::make_shared<request_record>();
    auto const mark = std::min(head.target.find('?'), head.target.size());
    record->method = head.method;
    record->target = head.target;
    record->path = percent_decoded(head.target.substr(0, mark));
    if (mark < head.target.size())
        record->query = parse_query(std::string_view{head.target}.substr(mark + 1));
    record->headers = head.headers;
    auto found = route_of(head.method, record->path, record->query);
    record->kind = found.kind;
    record->repository = std::move(found.repository);
    record->reference = std::move(found.reference);
    record->other_port = other_port;
    record->connection = connection_id;
    record->at = std::chrono::steady_clock::now();
    std::scoped_lock const lock{c.mutex};
    c.records.push_back(record);
    record->number = c.records.size();
    return record;
}

/// What a fault has to say before any work; with an answer, there will be none.
inline std::optional<reply> meet_fault(core& c, exchange& x, std::optional<fault_action> const& action) {
    if (!action) return std::nullopt;
    if (auto const* const given = std::get_if<answer>(&*action)) {
        auto const early = given->early || x.body.held_back();
        if (!early) x.body.each([](std::string_view) {});
        return reply{.status = given->status, .headers = given->headers, .body = given->body, .close = early};
    }
    if (auto const* const drop = std::get_if<drop_connection>(&*action)) {
        if (!x.body.expected() || drop->after_body_bytes == 0) throw connection_ended{"dropped by a fault"};
        x.body.cut_after(drop->after_body_bytes);
    }
    if (auto const* const silence = std::get_if<stall>(&*action)) {
        if (silence->reads_body) x.body.each([](std::string_view) {});
        auto const stopping = [&] {
            std::scoped_lock const lock{c.mutex};
            return c.stopping;
        };
        while (!stopping() && !x.peer.peer_is_gone(std::chrono::milliseconds{20})) {
        }
        throw connection_ended{"stalled by a fault"};
    }
    if (auto const* const wait = std::get_if<delay>(&*action)) c.pause(wait->by);
    if (auto const* const test = std::get_if<call>(&*action)) test->first();
    return std::nullopt;
}

/// What a fault does to an answer that has been worked out.
inline void spoil_reply(core& c, reply& result, std::optional<fault_action> const& action) {
    if (!action) return;
    if (std::holds_alternative<hang_up_after>(*action)) result.close = result.close_silently = true;
    if (auto const* const slow = std::get_if<trickle>(&*action)) {
        result.piece = slow->piece;
        result.pause = [&c, by = slow->pause] { c.pause(by); };
    }
    if (auto const* const cut = std::get_if<cut_reply>(&*action)) {
        result.cut = true;
        result.close = result.close_silently = true;
        result.chunked_without_end = cut->chunked;
        auto content = std::string{result.content()};
        auto const announced = std::max(content.size(), cut->missing);
        content.resize(announced - cut->missing, ' ');
        result.stored = nullptr;
        result.body = std::move(content);
        if (!result.announced || *result.announced < announced) result.announced = announced;
    }
}

/// Rudely or not, as the fault wants it.
inline bool ends_with_reset(std::optional<fault_action> const& action) {
    if (!action) return false;
    if (auto const* const drop = std::get_if<drop_connection>(&*action)) return drop->reset;
    auto const* const lost = std::get_if<lost_reply>(&*action);
    return lost != nullptr && lost->reset;
}

/// The client cannot know what an upload has after its request was broken off. With the mutex held.
inline void note_broken(core& c, request_record const& request) {
    if (request.kind != request_kind::patch_upload && request.kind != request_kind::put_upload) return;
    auto const found = c.held.uploads.find(request.reference);
    if (found == c.held.uploads.end()) return;
    auto& session = *found->second;
    if (session.told_by < request.number) session.offset_unknown = true; // else it has asked meanwhile
}

/// Serves the next request of a connection. False when the connection is to be closed.
inline bool serve_next(core& c, connection& peer, bool other_port, std::size_t connection_id) {
    auto head = read_head(peer);
    if (!head) return false;
    auto const record = new_record(c, *head, other_port, connection_id);
    body_reader body{peer, *head};
    exchange x{peer, *head, body, *record};
    auto const action = c.faults.take(*record);
    auto const needs_length = head->method == "POST" || head->method == "PUT" || head->method == "PATCH";
    auto const transfer = is_transfer(x);
    auto const settings = [&] {
        std::scoped_lock const lock{c.mutex};
        for (auto const& oddity : head->oddities) c.check.note(*record, oddity);
        c.check.check_head(*record, needs_length, body.chunked());
        if (transfer) c.check.transfer_begins(*record);
        ++c.being_served;
        return std::tuple{c.how.read_bytes_per_second, c.how.header_delay, c.how.session_cookies,
                          c.how.extra_headers};
    }();
    auto const& [rate, header_delay, cookies, extra_headers] = settings;
    if (rate != 0) {
        peer.read_little_ahead();
        body.pace_with(static_cast<std::size_t>(rate / 20 + 1), [&c, rate = rate](std::size_t count) {
            c.pause(std::chrono::nanoseconds{std::uint64_t{count} * 1'000'000'000 / rate});
        });
    }
    auto const finish = [&](int status, bool delivered, reply const* sent) {
        std::scoped_lock const lock{c.mutex};
        record->body_bytes = body.received();
        record->complete = body.complete();
        record->status = status;
        record->delivered = delivered;
        if (delivered && sent->delivered) sent->delivered();
        if (transfer) c.check.transfer_ends();
        if (status == 0) note_broken(c, *record);
        --c.being_served;
        c.changed.notify_all();
    };

    reply result;
    auto answered = false;
    try {
        auto instead = meet_fault(c, x, action);
        result = instead ? std::move(*instead) : serve(c, x);
        answered = true;
        if (!body.complete() && !body.held_back() && !result.close &&
            body.announced().value_or(0) < 64 * 1024)
            body.each([](std::string_view) {}); // small enough to keep the connection
    } catch (connection_ended const&) {
        auto const dropped = action && std::holds_alternative<drop_connection>(*action);
        if (!answered || dropped) {
            finish(0, false, nullptr);
            if (ends_with_reset(action)) return peer.reset_on_close(), false;
            return peer.close_gently(), false;
        }
    } catch (std::exception const& problem) { // what a test has put here cannot be served
        result = error_reply(quirks{}, 500, "UNKNOWN", problem.what());
    }
    if (action && std::holds_alternative<lost_reply>(*action)) {
        finish(result.status, false, nullptr);
        if (ends_with_reset(action)) return peer.reset_on_close(), false;
        return peer.close_gently(), false;
    }
    if (!body.complete() || same_text(head->header("Connection"), "close")) result.close = true;
    if (record->kind != request_kind::token)
        result.headers.insert(result.headers.end(), extra_headers.begin(), extra_headers.end());
    if (cookies)
        result.headers.emplace_back("Set-Cookie", "sid=" + std::to_string(record->number) + "; Path=/");
    spoil_reply(c, result, action);
    c.pause(header_delay);

    // Told before sent: the client's next request may be here before this thread goes on.
    finish(result.status, !result.cut, &result);
    try {
        send_reply(peer, result, head->method);
    } catch (connection_ended const&) {
        std::scoped_lock const lock{c.mutex};
        record->delivered = false;
        return false;
    }
    if (!result.close && !result.cut) return true;
    peer.close_gently();
    return false;
}

} // namespace registry_test
