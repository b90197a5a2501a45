#pragma once
// curl_transfer: one request on one channel, from its first byte to the last one of the answer.
//
// libcurl moves on only while somebody waits here: in run() until the headers have come and the request's body has
// gone, later in read(). Its callbacks must not throw: what the body's source throws is kept, and thrown from run().

#include <shiplap/bytes/concept.hpp>
#include <shiplap/error.hpp>
#include <shiplap/registry/curl_channel.hpp>
#include <shiplap/registry/curl_failure.hpp>
#include <shiplap/registry/curl_options.hpp>
#include <shiplap/registry/curl_pool.hpp>
#include <shiplap/registry/http.hpp>
#include <shiplap/registry/request_body.hpp>
#include <shiplap/registry/response_head.hpp>
#include <shiplap/registry/url.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include <curl/curl.h>

namespace shiplap::detail {

class curl_transfer {
  public:
    curl_transfer(std::shared_ptr<curl_pool> pool, std::unique_ptr<curl_channel> channel,
                  http_request const& request)
        : pool_{std::move(pool)},
          outcome_{request.method, request.target.shown(), request.target.from()},
          patience_{request.patience},
          repeatable_{request.repeatable},
          address_{request.target},
          channel_{std::move(channel)} {
        configure(request);
        if (request.body) body_ = request_body{*request.body};
        channel_->join();
    }
    // libcurl has its address.
    curl_transfer(curl_transfer const&) = delete;
    curl_transfer& operator=(curl_transfer const&) = delete;
    ~curl_transfer() = default; // a channel that is still here dies with its connection

    /// Returns when the headers are there and the request's body is not needed any more. Throws what the body's source
    /// or the heartbeat throws, and transport_error.
    void run() {
        moved_ = clock::now();
        while (!done_ && !(head_.complete() && (all_handed_out() || head_.status() >= 300))) turn();
        body_.release();
        if (head_.status() == 407) throw proxy_refuses(outcome_);
        if (!head_.complete()) fail();
    }
    /// The connection was an old one and closed before anything came back, and a new one may be tried.
    [[nodiscard]] bool lost_the_race() const noexcept {
        bool const cut = outcome_.result == CURLE_SEND_ERROR || outcome_.result == CURLE_RECV_ERROR ||
                         outcome_.result == CURLE_GOT_NOTHING;
        return cut && reused_ && received_ == 0 && (repeatable_ || !body_.touched());
    }

    [[nodiscard]] int status() const noexcept { return head_.status(); }
    [[nodiscard]] http_headers& headers() noexcept { return head_.headers(); }

    /// The next bytes of the answer's body; 0 at its end. Throws transport_error if it is cut or stalls.
    std::size_t read(bytes_span into) {
        if (into.empty()) return 0;
        if (buffered() == 0 && !done_) {
            moved_ = clock::now(); // the time that the reader took is its own
            if (receive_paused_) {
                receive_paused_ = false;
                resume();
            }
            while (buffered() == 0 && !done_) turn();
        }
        if (buffered() == 0) {
            if (outcome_.result != CURLE_OK) fail();
            return 0;
        }
        auto const n = std::min(into.size(), buffered());
        std::memcpy(into.data(), buffer_.data() + taken_, n);
        taken_ += n;
        if (buffered() == 0) {
            buffer_.clear();
            taken_ = 0;
        }
        return n;
    }

  private:
    using clock = std::chrono::steady_clock;
    static constexpr std::size_t most_buffered = 1U << 20; // bytes of an answer's body
    static constexpr std::chrono::milliseconds beat{100};

    // --- the request ---

    void configure(http_request const& request) {
        auto* const easy = channel_->easy();
        channel_->prepare();
        // Credentials go through headers, where their origin is checked.
        curl_url_set(address_.handle(), CURLUPART_USER, nullptr, 0);
        curl_url_set(address_.handle(), CURLUPART_PASSWORD, nullptr, 0);
        set_option(easy, CURLOPT_CURLU, address_.handle());
        set_option(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options().connect_timeout.count()));
        if (!options().user_agent.empty()) set_option(easy, CURLOPT_USERAGENT, options().user_agent.c_str());
        set_option(easy, CURLOPT_ERRORBUFFER, words_.data());
        set_option(easy, CURLOPT_PREREQFUNCTION, &connected);
        set_option(easy, CURLOPT_PREREQDATA, static_cast<void*>(this));
        set_option(easy, CURLOPT_HEADERFUNCTION, &take_header);
        set_option(easy, CURLOPT_HEADERDATA, static_cast<void*>(this));
        set_option(easy, CURLOPT_WRITEFUNCTION, &take_body);
        set_option(easy, CURLOPT_WRITEDATA, static_cast<void*>(this));
        if (request.method == "HEAD") {
            set_option(easy, CURLOPT_NOBODY, 1L);
        } else {
            if (request.body || request.method == "PUT" || request.method == "POST" ||
                request.method == "PATCH") {
                set_option(easy, CURLOPT_UPLOAD, 1L);
                set_option(easy, CURLOPT_INFILESIZE_LARGE,
                           static_cast<curl_off_t>(request.body ? request.body->size : 0));
                set_option(easy, CURLOPT_READFUNCTION, &give_body);
                set_option(easy, CURLOPT_READDATA, static_cast<void*>(this));
                set_option(easy, CURLOPT_SEEKFUNCTION, &rewind_body);
                set_option(easy, CURLOPT_SEEKDATA, static_cast<void*>(this));
            }
            set_option(easy, CURLOPT_CUSTOMREQUEST, outcome_.operation.c_str());
        }
        for (auto const& [name, value] : request.headers.fields()) {
            // "Name;" is how libcurl is told to send an empty value.
            auto line = name;
            line.append(value.empty() ? ";" : ": ").append(value);
            auto* const longer = curl_slist_append(lines_.get(), line.c_str());
            if (longer == nullptr) throw std::bad_alloc{};
            (void)lines_.release();
            lines_.reset(longer);
        }
        set_option(easy, CURLOPT_HTTPHEADER, lines_.get());
    }

    [[nodiscard]] curl_options const& options() const noexcept { return pool_->options(); }

    // --- turns ---

    void turn() {
        bool const paused = send_paused_;
        channel_->perform();
        collect();
        if (kept_) std::rethrow_exception(std::exchange(kept_, nullptr));
        if (done_) return;
        if (paused) { // libcurl has now seen what had arrived
            send_paused_ = false;
            resume();
        }
        watch();
        if (buffered() == 0 || !all_handed_out()) channel_->wait(beat);
    }

    // Lets libcurl go on with whatever is not paused for our reasons. May call back.
    void resume() {
        auto const still = (receive_paused_ ? CURLPAUSE_RECV : 0) | (send_paused_ ? CURLPAUSE_SEND : 0);
        curl_easy_pause(channel_->easy(), still);
    }

    void collect() {
        int left = 0;
        while (auto const* const message = curl_multi_info_read(channel_->multi(), &left)) {
            if (message->msg != CURLMSG_DONE) continue;
            done_ = true;
            outcome_.result = message->data.result;
        }
        if (!done_) return;
        long connections = 0;
        curl_easy_getinfo(channel_->easy(), CURLINFO_NUM_CONNECTS, &connections);
        reused_ = connections == 0;
        outcome_.unheard = outcome_.result == CURLE_SEND_ERROR && connected_ && !reused_ && received_ == 0 &&
                           !body_.touched();
        note();
        channel_->leave();
        // It may wait for the next request even while this answer is still being read.
        if (outcome_.result == CURLE_OK) pool_->give_back(std::move(channel_));
        channel_.reset();
    }

    // Heartbeat and time limits.
    void watch() {
        auto const now = clock::now();
        if (now - beaten_ < beat) return;
        beaten_ = now;
        if (options().heartbeat) options().heartbeat();
        if (!connected_) return; // libcurl's own limit holds
        curl_off_t uploaded = 0;
        curl_easy_getinfo(channel_->easy(), CURLINFO_SIZE_UPLOAD_T, &uploaded);
        // What the kernel holds counts: a slow line empties it for minutes after we have handed it the last byte.
        auto const unsent = channel_->unsent();
        if (progress const here{received_, uploaded, unsent}; here != seen_) {
            seen_ = here;
            moved_ = now;
        }
        bool const waiting = received_ == 0 && all_handed_out() && unsent == 0;
        auto const limit = waiting ? patience_ : options().stall_timeout;
        if (now - moved_ < limit) return;
        note();
        auto const host = "'" + printable(outcome_.to.authority()) + "'";
        throw make_failure(outcome_, transport_failure::stall, true,
                           waiting
                               ? host + " did not answer within " + seconds_text(limit) +
                                     " after it had got the whole request"
                               : "nothing moved between here and " + host + " for " + seconds_text(limit));
    }

    // What the error will tell.
    void note() {
        auto* const easy = channel_->easy();
        curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &outcome_.system);
        curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &outcome_.verification);
        curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &outcome_.proxy_status);
        outcome_.words = words_.data();
        outcome_.refused = channel_->refused();
        outcome_.status = head_.complete() ? head_.status() : 0;
        outcome_.elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - started_);
    }
    [[noreturn]] void fail() const {
        if (head_.too_long())
            throw make_failure(outcome_, transport_failure::cut, false, "the answer's headers are too long");
        throw curl_failure(outcome_);
    }

    // --- callbacks ---

    template <class Call>
    auto guarded(Call call, decltype(call()) failed) noexcept {
        try {
            return call();
        } catch (...) {
            kept_ = std::current_exception();
            return failed;
        }
    }

    static int connected(void* self, char*, char*, int, int) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        transfer.connected_ = true;
        transfer.moved_ = clock::now();
        return CURL_PREREQFUNC_OK;
    }

    static std::size_t give_body(char* to, std::size_t size, std::size_t count, void* self) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        return transfer.guarded([&] { return transfer.next_piece(to, size * count); },
                                std::size_t{CURL_READFUNC_ABORT});
    }
    std::size_t next_piece(char* to, std::size_t space) {
        if (!held_back_.empty()) {
            auto const n = std::min(space, held_back_.size());
            std::memcpy(to, held_back_.data(), n);
            held_back_.erase(0, n);
            return n;
        }
        auto const n = body_.read({reinterpret_cast<std::byte*>(to), space});
        moved_ = clock::now(); // the time that the source took is its own
        // An early answer ("413", and the connection is closed) must be read before the next byte is sent, for that
        // would fail and hide the answer.
        if (n != 0 && channel_->readable()) {
            held_back_.assign(to, n);
            send_paused_ = true;
            return CURL_READFUNC_PAUSE;
        }
        return n;
    }
    [[nodiscard]] bool all_handed_out() const noexcept { return body_.left() == 0 && held_back_.empty(); }

    static int rewind_body(void* self, curl_off_t offset, int from) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        if (offset != 0 || from != SEEK_SET) return CURL_SEEKFUNC_FAIL;
        if (transfer.body_.touched() && !transfer.repeatable_) return CURL_SEEKFUNC_FAIL;
        return transfer.guarded(
            [&] {
                transfer.held_back_.clear();
                transfer.body_.restart();
                return CURL_SEEKFUNC_OK;
            },
            CURL_SEEKFUNC_FAIL);
    }

    static std::size_t take_header(char* text, std::size_t size, std::size_t count, void* self) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        auto const n = size * count;
        return transfer.guarded(
            [&] {
                transfer.received_ += n;
                transfer.head_.add({text, n});
                return transfer.head_.too_long() ? 0 : n;
            },
            std::size_t{0});
    }

    static std::size_t take_body(char* bytes, std::size_t size, std::size_t count, void* self) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        auto const n = size * count;
        return transfer.guarded(
            [&]() -> std::size_t {
                if (transfer.buffered() >= most_buffered) {
                    transfer.receive_paused_ = true;
                    return CURL_WRITEFUNC_PAUSE;
                }
                transfer.received_ += n;
                transfer.buffer_.append(bytes, n);
                return n;
            },
            std::size_t{0});
    }
    [[nodiscard]] std::size_t buffered() const noexcept { return buffer_.size() - taken_; }

    struct slist_cleanup {
        void operator()(::curl_slist* list) const noexcept { curl_slist_free_all(list); }
    };
    struct progress {
        std::uint64_t received = 0;
        curl_off_t uploaded = 0;
        std::uint64_t unsent = 0;
        friend bool operator==(progress const&, progress const&) = default;
    };

    std::shared_ptr<curl_pool> pool_;
    curl_outcome outcome_;
    std::chrono::milliseconds patience_;
    bool repeatable_;
    url address_;
    std::unique_ptr<::curl_slist, slist_cleanup> lines_;
    std::array<char, CURL_ERROR_SIZE> words_{};

    request_body body_;
    std::string held_back_; // bytes of it that are to be sent when libcurl has read what came in
    bool send_paused_ = false, receive_paused_ = false;
    std::exception_ptr kept_;

    response_head head_;
    std::string buffer_;    // of the answer's body
    std::size_t taken_ = 0; // bytes of it that were read

    bool connected_ = false, done_ = false, reused_ = false;
    std::uint64_t received_ = 0; // bytes
    progress seen_;
    clock::time_point started_ = clock::now(), moved_ = started_, beaten_ = started_;

    std::unique_ptr<curl_channel> channel_; // the last: it goes first, for it calls back
};

} // namespace shiplap::detail
