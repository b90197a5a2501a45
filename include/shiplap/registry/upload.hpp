#pragma once
// upload: brings one blob into a repository, whatever happens on the way.
//
//     upload_blob(app, what, source, {.journal = &journal});
//
// One PUT with all of it. When that is cut, or the registry takes no requests of that size, the registry is asked how
// far it got, and pieces follow (PATCH) from there on. The rules:
//
//   the answer got lost            HEAD finds the blob: done
//   the session is gone            a new one, from the start
//   the registry has less          goes on from there; pieces that do not count at all: no pieces for this registry
//   the registry has more          an error: that upload is not ours
//   413                            smaller requests, down to 1 MiB
//   the digest is wrong there      once more from the start; the local bytes were verified while they were read
//
// What a request looks like is repository.hpp's; when to try again is retry.hpp's.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/registry/attempts.hpp>
#include <shiplap/registry/journal.hpp>
#include <shiplap/registry/part_source.hpp>
#include <shiplap/registry/repository.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>

namespace shiplap {

/// What was learned about a registry; shared by all uploads to it.
struct upload_habits {
    std::atomic<std::uint64_t> max_body{std::numeric_limits<std::uint64_t>::max()}; ///< bytes of one request
    std::atomic<bool> ignores_pieces{false}; ///< says yes to a second PATCH and forgets it
};

struct upload_options {
    std::uint64_t piece = 32 << 20;          ///< bytes of a PATCH at most, at least 1
    bool in_pieces = false;                  ///< from the first byte on, not only when needed
    std::uint64_t worth_a_record = 32 << 20; ///< blobs of fewer bytes are not entered in the journal
    upload_journal const* journal = nullptr;
    /// For the answer when the last byte was sent: registries hash, and some move, the whole blob before they give it.
    std::chrono::milliseconds patience{std::chrono::minutes{5}};
};

namespace detail {

template <transport T>
class blob_upload {
  public:
    blob_upload(repository<T>& to, descriptor const& what, replayable_source_ref from, upload_habits& habits,
                upload_options const& options)
        : to_{to},
          what_{what},
          part_{from},
          habits_{habits},
          options_{options},
          attempts_{detail::attempts_at(to.over(), to.registry())},
          pieces_{options.in_pieces && !habits.ignores_pieces} {}

    void run(std::optional<upload_session> given) {
        if (options_.journal != nullptr && what_.size >= options_.worth_a_record)
            record_ = options_.journal->open(to_.registry(), to_.name(), what_.digest);
        try {
            if (record_) resume(record_->session());
            if (given && session_)
                to_.cancel_upload(*given); // less is left to do in the other
            else if (given)
                begin(std::move(*given));
            while (!advance()) {
            }
        } catch (remote_error const&) {
            throw; // the record stays: another run may go on
        } catch (error const& failure) {
            // What was sent is nothing to go on from.
            bool const wrong_bytes =
                failure.code() == error_code::digest_mismatch || failure.code() == error_code::source_changed;
            give_up(!record_ || wrong_bytes);
            throw;
        } catch (...) { // a signal, or another failure
            give_up(!record_);
            throw;
        }
        if (record_) record_->forget();
    }

  private:
    // One step towards the end; true if that is reached.
    bool advance() {
        attempts_.wait_for_host();
        try {
            if (!session_) begin(to_.start_upload(what_.digest));
            bool const all = !pieces_ && offset_ == 0 && what_.size <= habits_.max_body;
            if (all) return close(what_.size);
            if (offset_ < what_.size) return send_piece();
            return close(0);
        } catch (transport_error const& failure) {
            if (!failure.facts().retryable || failure.facts().attempts > 1)
                throw; // or others have tried hard already
            attempts_.failed(failure);
        }
        return find_out(true);
    }

    void begin(upload_session session) {
        session_ = std::move(session);
        offset_ = in_flight_ = 0;
        remember();
    }
    void remember() {
        if (record_) record_->keep(*session_);
    }
    void give_up(bool for_good) noexcept {
        if (!for_good) return;
        if (session_) to_.cancel_upload(*session_);
        if (record_) record_->forget();
    }
    void forget_session() {
        session_.reset();
        offset_ = in_flight_ = 0;
    }

    // Where another run left off. What the registry has then is believed: the digest is checked at the end.
    void resume(std::optional<upload_session> left) {
        if (!left || left->location.from() != to_.registry() || habits_.ignores_pieces) return;
        auto const there = to_.upload_status(*left);
        if (!there || there->received.value_or(0) == 0 || *there->received > what_.size) return;
        begin(there->session);
        offset_ = in_flight_ = *there->received;
        pieces_ = true;
    }

    // The closing PUT, with `size` bytes in it: all, or nothing.
    bool close(std::uint64_t size) {
        part_.select(0, size);
        in_flight_ = what_.size;
        std::optional<http_body> body;
        if (size != 0) body = http_body{part_, size, 0};
        auto answer = to_.put_upload(*session_, what_.digest, body, options_.patience);
        if (answer.status == 201 || answer.status == 200 || answer.status == 204) {
            check_digest(answer);
            (void)read_text(answer, max_error_body); // all of it came, and the connection can be used again
            return true;
        }
        if (answer.status == 202 && to_.has_blob(what_.digest, what_.size)) return true;
        if (size == 0 && answer.status == 500) ++refused_closings_;
        return failed(answer, size);
    }

    bool send_piece() {
        auto const limit = std::max<std::uint64_t>(habits_.max_body, 1);
        auto const wanted = std::max(std::min(options_.piece, limit), session_->min_chunk);
        auto const size = std::min(wanted, what_.size - offset_);
        part_.select(offset_, size);
        in_flight_ = offset_ + size;
        auto answer = to_.patch_upload(*session_, http_body{part_, size, 0}, offset_);
        if (answer.status != 202 && answer.status != 201 && answer.status != 200 && answer.status != 204)
            return failed(answer, size);

        auto const now = to_.progress_of(*session_, answer);
        session_ = now.session;
        auto const sent_to = offset_ + size;
        // One byte looks like none at all.
        auto const received = sent_to == 1 ? sent_to : now.received.value_or(sent_to);
        if (received > sent_to) throw range_ahead(received);
        if (received <= offset_) return pieces_are_ignored();
        move_to(received);
        return false;
    }

    // An answer that is no success. False if there is another way to go on; otherwise throws.
    bool failed(http_response& answer, std::uint64_t size) {
        if ((answer.status == 307 || answer.status == 308) && answer.headers.find("Location") != nullptr &&
            ++moves_ <= 5) {
            session_ = to_.progress_of(*session_, answer).session;
            return false;
        }
        // What it says to have, unless that is nothing, or it does not say.
        auto const range =
            answer.status == 416 ? to_.progress_of(*session_, answer).received.value_or(0) : std::uint64_t{0};
        auto failure = to_.refused("upload", what_.digest.text(), answer);
        auto const& facts = failure.facts();
        if (answer.status == 413) return shrink(failure, size);
        if (answer.status == 401 && ++logins_ <= 1) return find_out(false); // a new token is there
        if (facts.registry_code == "DIGEST_INVALID") {
            if (++wrong_digests_ > 1)
                throw registry_error{
                    "upload", failure.subject(),
                    failure.reason() +
                        "; the local bytes have this digest, so they were damaged on the way or there",
                    facts};
            forget_session();
            return false;
        }
        bool const gone = answer.status == 404 || facts.registry_code == "BLOB_UPLOAD_UNKNOWN" ||
                          facts.registry_code == "BLOB_UPLOAD_INVALID" || answer.status == 416;
        if (gone || facts.retryable) {
            attempts_.failed(as_retryable(failure));
            if (range != 0 && range <= in_flight_) {
                move_to(range);
                return false;
            }
            return find_out(true);
        }
        throw failure;
    }

    // What does the registry have? True if it is everything.
    bool find_out(bool may_be_complete) {
        if (may_be_complete && to_.has_blob(what_.digest, what_.size)) return true;
        if (!session_) return false;
        pieces_ = true;
        if (habits_.ignores_pieces || refused_closings_ > 1) {
            pieces_ = false;
            forget_session();
            return false;
        }
        auto const there = to_.upload_status(*session_);
        auto const received = there ? there->received.value_or(0) : 0;
        if (received > in_flight_) throw range_ahead(received);
        if (received == 0) { // or one byte: both are told as "0-0"
            forget_session();
            return false;
        }
        session_ = there->session;
        move_to(received);
        return false;
    }

    void move_to(std::uint64_t received) {
        if (received > offset_) {
            attempts_.progressed();
            moves_ = logins_ = 0;
        }
        offset_ = received;
        remember();
    }

    bool pieces_are_ignored() {
        habits_.ignores_pieces = true;
        if (what_.size > habits_.max_body)
            throw registry_error{
                "upload",
                to_.shown(what_.digest.text()),
                "the registry accepts a piece of the blob and then does not have it, and all "
                "of it at once is too large for it",
                {}};
        pieces_ = false;
        forget_session();
        return false;
    }

    bool shrink(registry_error const& failure, std::uint64_t size) {
        constexpr std::uint64_t least = 1 << 20, likely = 50 << 20;
        auto const smaller = size > 2 * likely ? likely : std::max(size / 2, least);
        if (size <= least || smaller < session_->min_chunk || habits_.ignores_pieces)
            throw registry_error{failure.operation(), failure.subject(),
                                 failure.reason() + ", even one of " + std::to_string(size) + " bytes",
                                 failure.facts()};
        for (auto limit = habits_.max_body.load(); smaller < limit;)
            if (habits_.max_body.compare_exchange_weak(limit, smaller)) break;
        return find_out(false);
    }

    void check_digest(http_response const& answer) {
        auto const told = answer.headers.get("Docker-Content-Digest");
        if (told.starts_with(std::string{what_.digest.algorithm()} + ":") && told != what_.digest.text())
            throw registry_error{"upload",
                                 to_.shown(what_.digest.text()),
                                 "the registry says that it has " + printable(told) + " now",
                                 {.http_status = answer.status}};
    }

    registry_error range_ahead(std::uint64_t received) const {
        return {"upload",
                to_.shown(what_.digest.text()),
                "the registry says that it has " + std::to_string(received) + " bytes, but only " +
                    std::to_string(in_flight_) + " were sent",
                {}};
    }

    static registry_error as_retryable(registry_error const& failure) {
        auto facts = failure.facts();
        facts.retryable = true;
        return {failure.operation(), failure.subject(), failure.reason(), std::move(facts)};
    }

    repository<T>& to_;
    descriptor const& what_;
    part_source part_;
    upload_habits& habits_;
    upload_options const& options_;
    decltype(detail::attempts_at(std::declval<T&>(), std::declval<origin const&>())) attempts_;
    std::optional<upload_journal::entry> record_{};
    std::optional<upload_session> session_{};
    std::uint64_t offset_ = 0;    // bytes that the registry has
    std::uint64_t in_flight_ = 0; // bytes that it may have
    bool pieces_;
    unsigned moves_ = 0, logins_ = 0, wrong_digests_ = 0, refused_closings_ = 0;
};

} // namespace detail

/// Uploads the content of `what`, verified as it is read, and returns when the registry has confirmed it. `session`: one
/// that a refused mount gave. Throws remote_error; what reading `from` throws, goes through.
template <transport T>
void upload_blob(repository<T>& to, descriptor const& what, replayable_source_ref from, upload_habits& habits,
                 upload_options const& options = {}, std::optional<upload_session> session = {}) {
    from.rewind();
    detail::blob_upload<T>{to, what, from, habits, options}.run(std::move(session));
}

} // namespace shiplap
