#pragma once
// All of shiplap in one header. Made from include/ by single_include/amalgamate.py; edit there, not here.

#include <cryptopp/sha.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <nlohmann/json.hpp>
#include <range/v3/algorithm/contains.hpp>
#include <range/v3/algorithm/find.hpp>
#include <range/v3/algorithm/min_element.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <compare>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

// === shiplap/bytes/concept.hpp ===

// bytes: how data moves. Producers push into a byte_sink; consumers pull from a byte_source.
//
//   concept             expression              meaning
//   byte_sink           s.write(in)             takes all of `in`, or throws
//   lending_sink        s.room() -> span        a byte_sink that has memory for the next bytes; empty: none just now
//                       s.filled(n)             takes the first n bytes of that, as write() would: saves a copy
//   byte_source         r.read(into) -> n       fills up to into.size() bytes; 0 means end (for a non-empty `into`)
//   replayable_source   r.rewind()              a byte_source; back to the first byte, any number of times
//   byte_stage          t.write(in, out)        transforms `in`, pushes what is ready into `out`
//                       t.finish(out)           pushes what is left; called once, at the end
//   byte_decoder        d.read(in, into) -> n   the mirror image: pulls packed bytes from `in`, fills `into`
//
// A stage gets its output as an argument, a decoder its input. So neither is a template over its neighbour, each can
// be moved and tested alone, and each fuses with its neighbour where that one's type is known.
//
// Exemplar of a stage, compiled in tests/bytes/concept.cpp:
//
//     struct upper_case {
//         template <byte_sink Out>
//         void write(bytes_view in, Out& out) { for (auto b : in) { auto c = upper(b); out.write({&c, 1}); } }
//         template <byte_sink Out>
//         void finish(Out&) {}
//     };
//
// Models: pipeline, staged_file and string_sink are sinks; file_reader, span_source and text_source sources; gather, the taps of
// digest/ and the encoders of codec/ stages.

namespace shiplap {

using bytes_view = std::span<std::byte const>;
using bytes_span = std::span<std::byte>;

/// The bytes of a text, without a copy.
inline bytes_view as_bytes(std::string_view text) noexcept {
    return {reinterpret_cast<std::byte const*>(text.data()), text.size()};
}

/// Bytes seen as text, without a copy; no encoding is implied.
inline std::string_view as_text(bytes_view bytes) noexcept {
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

/// Accepts every byte it is given, in order, or throws.
template <class S>
concept byte_sink = requires(S& sink, bytes_view in) {
    sink.write(in);
};

/// Lends its own memory to who makes the bytes: see the table above.
template <class S>
concept lending_sink = byte_sink<S> && requires(S& sink, std::size_t n) {
    { sink.room() } -> std::same_as<bytes_span>;
    sink.filled(n);
};

/// Hands out bytes in order until read() returns 0.
template <class R>
concept byte_source = requires(R& source, bytes_span into) {
    { source.read(into) } -> std::same_as<std::size_t>;
};

/// A source that can be read again from its start, as a request body must be.
template <class R>
concept replayable_source = byte_source<R> && requires(R& source) {
    source.rewind();
};

/// A sink that drops everything; the neutral element of pipelines and the archetype in the concepts below.
struct null_sink {
    void write(bytes_view) noexcept {}
};

/// A source that is at its end; the archetype for decoders.
struct null_source {
    std::size_t read(bytes_span) noexcept { return 0; }
};

template <class T, class Out>
concept writes_into = requires(T& stage, bytes_view in, Out& out) {
    stage.write(in, out);
};

template <class T, class Out>
concept finishes_into = requires(T& stage, Out& out) {
    stage.finish(out);
};

/// A transformation of a byte stream: write(in, out) any number of times, then finish(out) once.
template <class T>
concept byte_stage = std::movable<T> && writes_into<T, null_sink> && finishes_into<T, null_sink>;

template <class D, class In>
concept reads_from = requires(D& decoder, In& in, bytes_span into) {
    { decoder.read(in, into) } -> std::same_as<std::size_t>;
};

/// The inverse of a stage, driven from the consumer's end. Throws format_error on bytes that are not its
/// format, on truncation, and on anything left after the end.
template <class D>
concept byte_decoder = std::movable<D> && reads_from<D, null_source>;

/// Collects into a string.
struct string_sink {
    std::string text;
    void write(bytes_view in) { text.append(as_text(in)); }
};

/// Reads from memory that outlives it; replayable.
class span_source {
  public:
    explicit span_source(bytes_view bytes) noexcept : all_{bytes}, rest_{bytes} {}
    explicit span_source(std::string_view text) noexcept : span_source{as_bytes(text)} {}

    void rewind() noexcept { rest_ = all_; }
    std::size_t read(bytes_span into) noexcept {
        auto const n = into.size() < rest_.size() ? into.size() : rest_.size();
        if (n != 0) std::memcpy(into.data(), rest_.data(), n);
        rest_ = rest_.subspan(n);
        return n;
    }

  private:
    bytes_view all_, rest_;
};

/// Reads from a text of its own; replayable.
class text_source {
  public:
    explicit text_source(std::string text) noexcept : text_{std::move(text)} {}

    void rewind() noexcept { at_ = 0; }
    std::size_t read(bytes_span into) noexcept {
        auto const n = text_.copy(reinterpret_cast<char*>(into.data()), into.size(), at_);
        at_ += n;
        return n;
    }

  private:
    std::string text_;
    std::size_t at_ = 0; // never beyond its end
};

/// A decoder joined to the source it reads from: a byte_source of plain bytes.
template <byte_decoder D, byte_source In>
struct decoded_source {
    D decoder;
    In in;
    std::size_t read(bytes_span into) { return decoder.read(in, into); }
};
template <class D, class In>
decoded_source(D, In) -> decoded_source<D, In>;

/// Moves all of `from` into `to` through a buffer of 256 KiB; returns the number of bytes.
template <byte_source From, byte_sink To>
std::uint64_t transfer(From& from, To& to);

/// Reads until `into` is full or the source ends; returns the number of bytes.
template <byte_source From>
std::size_t read_fully(From& from, bytes_span into) {
    std::size_t filled = 0;
    while (filled < into.size()) {
        auto const n = from.read(into.subspan(filled));
        if (n == 0) break;
        filled += n;
    }
    return filled;
}

/// Size of the buffers that bytes are moved through: large enough that a system call or an indirect call per
/// buffer costs nothing, small enough to stay in the second-level cache.
inline constexpr std::size_t transfer_size = 256 * 1024;

template <byte_source From, byte_sink To>
std::uint64_t transfer(From& from, To& to) {
    std::string buffer(transfer_size, '\0');
    bytes_span const space{reinterpret_cast<std::byte*>(buffer.data()), buffer.size()};
    std::uint64_t total = 0;
    while (auto const n = from.read(space)) {
        to.write(space.first(n));
        total += n;
    }
    return total;
}

/// Reads `bytes` bytes and drops them; returns how many of them there were.
template <byte_source From>
std::uint64_t skip(From& from, std::uint64_t bytes) {
    std::string dropped(static_cast<std::size_t>(bytes < transfer_size ? bytes : transfer_size), '\0');
    std::uint64_t done = 0;
    while (done < bytes) {
        auto const left = bytes - done;
        auto const wanted = left < dropped.size() ? static_cast<std::size_t>(left) : dropped.size();
        auto const n = from.read({reinterpret_cast<std::byte*>(dropped.data()), wanted});
        if (n == 0) break;
        done += n;
    }
    return done;
}

} // namespace shiplap

// === shiplap/bytes/progress.hpp ===

// How shiplap tells what it is doing: a progress_observer is anything that can be called with a
// progress_event.
//
//     auto observer = [](progress_event const& event) { std::cerr << event.subject << '\n'; };
//
// Events of one activity share an `id` and come in order: started, advanced (any number), waiting (perhaps), finished; an
// activity that fails gets no `finished`, the exception tells. Activities may run on several threads at once:
// an observer that keeps state guards it. Models: no_progress.

namespace shiplap {

struct progress_event {
    enum class kind {
        started,    ///< `total` is set where it is known
        advanced,   ///< `done` has grown
        waiting,    ///< all bytes were handed over; the other side has yet to confirm
        finished,   ///< `done` is final
        warning,    ///< `text` says what the user should know; belongs to no activity
        publishing, ///< `subject` becomes visible next, unless this throws; belongs to no activity
    };

    kind what = kind::started;
    std::uint64_t id = 0;               ///< the same for all events of an activity, unique in a process
    std::string_view activity;          ///< a verb: "pack", "copy"
    std::string_view subject;           ///< what is worked on, or becomes visible: a path, a digest
    std::uint64_t done = 0;             ///< bytes
    std::optional<std::uint64_t> total; ///< bytes
    std::string_view text;
};

template <class P>
concept progress_observer = std::invocable<P&, progress_event const&>;

/// An observer that says whether it has a use for totals, which may cost a walk over the source.
template <class P>
concept choosy_observer = progress_observer<P> && requires(P const& observer) {
    { observer.wants_totals() } -> std::same_as<bool>;
};

/// Tells nobody.
struct no_progress {
    void operator()(progress_event const&) const noexcept {}
    static constexpr bool wants_totals() noexcept { return false; }
};

/// A reference to any progress_observer.
class progress_ref {
  public:
    progress_ref() noexcept
        : object_{nullptr}, call_{[](void*, progress_event const&) {}}, wants_totals_{false} {}

    template <progress_observer P>
        requires(!std::same_as<std::remove_cv_t<P>, progress_ref>)
    progress_ref(P& observer)
    noexcept // NOLINT(google-explicit-constructor): a reference, as P& would be
        : object_{const_cast<void*>(static_cast<void const*>(&observer))},
          call_{[](void* object, progress_event const& event) { (*static_cast<P*>(object))(event); }} {
        if constexpr (choosy_observer<P>) wants_totals_ = observer.wants_totals();
    }

    void operator()(progress_event const& event) const { call_(object_, event); }

    [[nodiscard]] bool wants_totals() const noexcept { return wants_totals_; }

    /// An image, all of which is there, becomes visible next: the last chance to stop it.
    void about_to_publish(std::string_view digest) const {
        progress_event event;
        event.what = progress_event::kind::publishing;
        event.subject = digest;
        call_(object_, event);
    }

    /// Something that the user should know but that does not stop the export.
    void warn(std::string_view text) const {
        progress_event event;
        event.what = progress_event::kind::warning;
        event.text = text;
        call_(object_, event);
    }

  private:
    void* object_;
    void (*call_)(void*, progress_event const&);
    bool wants_totals_ = true;
};

} // namespace shiplap

// === shiplap/bytes/activity.hpp ===

// activity: one piece of work as an observer sees it, and a stage that counts the bytes of one.

namespace shiplap::detail {

inline std::uint64_t next_activity_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
}

/// Tells an observer about one activity, every 64 KiB: an observer that wants to stop the work, by an
/// exception, gets to it soon even where few bytes make many files.
class activity {
  public:
    activity(progress_ref progress, std::string_view verb, std::string subject,
             std::optional<std::uint64_t> total)
        : progress_{progress}, subject_{std::move(subject)} {
        event_.id = next_activity_id();
        event_.activity = verb;
        event_.subject = subject_;
        event_.total = total;
        progress_(event_);
    }
    activity(activity const&) = delete; // event_ refers to subject_
    activity& operator=(activity const&) = delete;
    ~activity() = default;

    void advance(std::uint64_t bytes) {
        event_.done += bytes;
        if (event_.done - told_ < interval) return;
        told_ = event_.done;
        tell(progress_event::kind::advanced);
    }
    /// The total has turned out to be another one.
    void expect(std::uint64_t total) { event_.total = total; }
    void wait() { tell(progress_event::kind::waiting); }
    void finish() { tell(progress_event::kind::finished); }

  private:
    static constexpr std::uint64_t interval = 64 * 1024;
    void tell(progress_event::kind what) {
        event_.what = what;
        progress_(event_);
    }

    progress_ref progress_;
    std::string subject_;
    progress_event event_;
    std::uint64_t told_ = 0;
};

/// A stage that counts for an activity.
struct meter {
    activity& told;
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        out.write(in);
        told.advance(in.size());
    }
    template <lending_sink Out>
    [[nodiscard]] bytes_span room(Out& out) {
        return out.room();
    }
    template <lending_sink Out>
    void filled(std::size_t n, Out& out) {
        out.filled(n);
        told.advance(n);
    }
    template <byte_sink Out>
    void finish(Out&) noexcept {}
};

} // namespace shiplap::detail

// === shiplap/bytes/erased.hpp ===

// Type erasure at the seams between policy axes: one indirect call per chunk, never per byte.
//
// byte_sink_ref and byte_source_ref refer to something that outlives them, as a reference does;
// any_byte_source and any_replayable_source own.

namespace shiplap {

/// A reference to any byte_sink; lends what that one lends.
class byte_sink_ref {
  public:
    template <byte_sink S>
        requires(!std::same_as<std::remove_cv_t<S>, byte_sink_ref>)
    byte_sink_ref(S& sink)
    noexcept // NOLINT(google-explicit-constructor): a reference, as S& would be
        : object_{&sink}, calls_{&calls_of<S>} {}

    void write(bytes_view in) { calls_->write(object_, in); }
    [[nodiscard]] bytes_span room() { return calls_->room(object_); }
    void filled(std::size_t n) { calls_->filled(object_, n); }

  private:
    struct calls {
        void (*write)(void*, bytes_view);
        bytes_span (*room)(void*);
        void (*filled)(void*, std::size_t);
    };

    template <byte_sink S>
    static bytes_span room_of(void* object) {
        if constexpr (lending_sink<S>)
            return static_cast<S*>(object)->room();
        else
            return {};
    }
    template <byte_sink S>
    static void filled_of(void* object, std::size_t n) {
        if constexpr (lending_sink<S>) static_cast<S*>(object)->filled(n);
    }
    template <byte_sink S>
    static constexpr calls calls_of{[](void* object, bytes_view in) { static_cast<S*>(object)->write(in); },
                                    room_of<S>, filled_of<S>};

    void* object_;
    calls const* calls_;
};

/// A reference to any byte_source.
class byte_source_ref {
  public:
    template <byte_source R>
        requires(!std::same_as<std::remove_cv_t<R>, byte_source_ref>)
    byte_source_ref(R& source)
    noexcept // NOLINT(google-explicit-constructor): a reference, as R& would be
        : object_{&source},
          read_{[](void* object, bytes_span into) { return static_cast<R*>(object)->read(into); }} {}

    std::size_t read(bytes_span into) { return read_(object_, into); }

  private:
    void* object_;
    std::size_t (*read_)(void*, bytes_span);
};

/// A reference to any replayable_source.
class replayable_source_ref {
  public:
    template <replayable_source R>
        requires(!std::same_as<std::remove_cv_t<R>, replayable_source_ref>)
    replayable_source_ref(R& source)
    noexcept // NOLINT(google-explicit-constructor): a reference, as R& would be
        : object_{&source},
          read_{[](void* object, bytes_span into) { return static_cast<R*>(object)->read(into); }},
          rewind_{[](void* object) { static_cast<R*>(object)->rewind(); }} {}

    std::size_t read(bytes_span into) { return read_(object_, into); }
    void rewind() { rewind_(object_); }

  private:
    void* object_;
    std::size_t (*read_)(void*, bytes_span);
    void (*rewind_)(void*);
};

/// Owns any byte_source; movable.
class any_byte_source {
  public:
    template <byte_source R>
        requires(!std::same_as<std::remove_cvref_t<R>, any_byte_source>)
    any_byte_source(R source) // NOLINT(google-explicit-constructor): a value conversion that loses nothing
        : self_{new model<R>{std::move(source)}} {}

    std::size_t read(bytes_span into) { return self_->read(into); }

  private:
    struct base {
        virtual ~base() = default;
        virtual std::size_t read(bytes_span into) = 0;
    };
    template <class R>
    struct model final : base {
        explicit model(R from) : source{std::move(from)} {}
        std::size_t read(bytes_span into) override { return source.read(into); }
        R source;
    };
    std::unique_ptr<base> self_;
};

/// Owns any replayable_source; movable.
class any_replayable_source {
  public:
    template <replayable_source R>
        requires(!std::same_as<std::remove_cvref_t<R>, any_replayable_source>)
    any_replayable_source(
        R source) // NOLINT(google-explicit-constructor): a value conversion that loses nothing
        : self_{new model<R>{std::move(source)}} {}

    std::size_t read(bytes_span into) { return self_->read(into); }
    void rewind() { self_->rewind(); }

  private:
    struct base {
        base() = default;
        base(base const&) = delete;
        base& operator=(base const&) = delete;
        virtual ~base() = default;
        virtual std::size_t read(bytes_span into) = 0;
        virtual void rewind() = 0;
    };
    template <class R>
    struct model final : base {
        explicit model(R from) : source{std::move(from)} {}
        std::size_t read(bytes_span into) override { return source.read(into); }
        void rewind() override { source.rewind(); }
        R source;
    };
    std::unique_ptr<base> self_;
};

} // namespace shiplap

// === shiplap/bytes/executor.hpp ===

// Where work inside a stage runs. A stage posts blocks and waits for them itself, so two operations are enough:
//
//   expression          meaning
//   e.concurrency()     how many posted tasks may run at once; 0: none, post() runs the task before it returns
//   e.post(task)        runs `task` once, on some thread; the task must not throw
//
// What a stage writes must not depend on that number. Models: inline_executor (the default), thread_pool.

namespace shiplap {

template <class E>
concept executor = requires(E& e, std::function<void()> task) {
    { e.concurrency() } -> std::convertible_to<unsigned>;
    e.post(std::move(task));
};

/// Runs every task in the caller: no thread, no lock.
struct inline_executor {
    [[nodiscard]] unsigned concurrency() const noexcept { return 0; }
    void post(std::function<void()> const& task) { task(); }
};

/// A fixed number of threads and a queue. The destructor finishes what was posted.
class thread_pool {
  public:
    /// `workers` threads, at least one.
    explicit thread_pool(unsigned workers) {
        threads_.reserve(workers == 0 ? 1 : workers);
        for (unsigned i = 0; i == 0 || i < workers; ++i) threads_.emplace_back([this] { work(); });
    }
    thread_pool(thread_pool const&) = delete;
    thread_pool& operator=(thread_pool const&) = delete;
    ~thread_pool() {
        {
            std::lock_guard lock{mutex_};
            closing_ = true;
        }
        wake_.notify_all();
        for (auto& thread : threads_) thread.join();
    }

    [[nodiscard]] unsigned concurrency() const noexcept { return static_cast<unsigned>(threads_.size()); }

    void post(std::function<void()> task) {
        {
            std::lock_guard lock{mutex_};
            tasks_.push_back(std::move(task));
        }
        wake_.notify_one();
    }

  private:
    void work() {
        for (;;) {
            std::unique_lock lock{mutex_};
            wake_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
            if (tasks_.empty()) return;
            auto task = std::move(tasks_.front());
            tasks_.pop_front();
            lock.unlock();
            task();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::list<std::function<void()>> tasks_;
    bool closing_ = false;
    std::vector<std::thread> threads_;
};

/// A reference to any executor, so that an encoder is no template over it. Default: runs everything in the
/// caller. Knows how many use it at the same time, so that what they keep in memory for it adds up to no more.
class executor_ref {
  public:
    executor_ref() noexcept
        : object_{nullptr}, concurrency_{0}, post_{[](void*, std::function<void()> task) { task(); }} {}

    template <executor E>
        requires(!std::same_as<std::remove_cv_t<E>, executor_ref>)
    executor_ref(E& e)
    noexcept // NOLINT(google-explicit-constructor): a reference, as E& would be
        : object_{&e}, concurrency_{e.concurrency()}, post_{[](void* object, std::function<void()> task) {
              static_cast<E*>(object)->post(std::move(task));
          }} {}

    [[nodiscard]] unsigned concurrency() const noexcept { return concurrency_; }
    /// How many users share it, at least one.
    [[nodiscard]] unsigned users() const noexcept { return users_; }
    /// The same for one of so many users.
    [[nodiscard]] executor_ref shared_by(unsigned users) const noexcept {
        auto one = *this;
        one.users_ *= users;
        return one;
    }
    void post(std::function<void()> task) const { post_(object_, std::move(task)); }

  private:
    void* object_;
    unsigned concurrency_;
    unsigned users_ = 1;
    void (*post_)(void*, std::function<void()>);
};

} // namespace shiplap

// === shiplap/error.hpp ===

// What can go wrong, and how it is told: one exception type to catch, children for what users catch apart.
//
// Every error names the operation, the subject (a path, digest, option or URL) and the reason, in that order:
//     read 'etc/shadow': Permission denied
// Callers add context outward with `within`; nothing is ever swallowed.

namespace shiplap {

enum class error_code {
    option,          ///< the caller asked for something that is not offered; nothing was started
    io,              ///< the operating system refused: see system_error::number()
    format,          ///< bytes that should follow a specification do not
    digest_mismatch, ///< bytes are not those that their descriptor promises
    not_found,       ///< a blob, image or name does not exist
    source_changed,  ///< an input was modified while it was read
    unsafe_entry,    ///< an archive entry would leave the directory it is extracted to
    unsupported,     ///< a valid input that cannot be expressed in the target format
    registry,        ///< a registry answered with a refusal: see registry_error
    network,         ///< a registry gave no whole answer: see transport_error
};

/// Text from outside made safe for a terminal and a log: control bytes and invalid UTF-8 become \xNN.
inline std::string printable(std::string_view text) {
    static constexpr char hex[] = "0123456789abcdef";
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
        auto const c = static_cast<unsigned char>(text[i]);
        std::size_t const length = c < 0x80                ? 1
                                   : c >= 0xc2 && c < 0xe0 ? 2
                                   : c >= 0xe0 && c < 0xf0 ? 3
                                   : c >= 0xf0 && c < 0xf5 ? 4
                                                           : 0;
        bool whole = length != 0 && i + length <= text.size() && c >= 0x20 && c != 0x7f;
        for (std::size_t k = 1; whole && k < length; ++k)
            whole = (static_cast<unsigned char>(text[i + k]) & 0xc0u) == 0x80u;
        if (whole && length > 1) { // C1 controls, overlong forms, surrogates, beyond U+10FFFF
            auto const second = static_cast<unsigned char>(text[i + 1]);
            unsigned const least = c == 0xc2 || c == 0xe0 ? 0xa0u : c == 0xf0 ? 0x90u : 0x80u;
            unsigned const most = c == 0xed ? 0x9fu : c == 0xf4 ? 0x8fu : 0xbfu;
            whole = least <= second && second <= most;
        }
        if (whole) {
            out.append(text.substr(i, length));
            i += length;
        } else {
            out += {'\\', 'x', hex[c >> 4], hex[c & 15]};
            ++i;
        }
    }
    return out;
}

/// The base of all that shiplap throws.
class error : public std::exception {
  public:
    error(error_code code, std::string operation, std::string subject, std::string reason)
        : code_{code},
          operation_{std::move(operation)},
          subject_{std::move(subject)},
          reason_{std::move(reason)} {
        compose();
    }

    [[nodiscard]] error_code code() const noexcept { return code_; }
    /// What was attempted, as a verb: "read", "parse reference".
    [[nodiscard]] std::string const& operation() const noexcept { return operation_; }
    /// What it was attempted on, unescaped: a path, a digest, an option.
    [[nodiscard]] std::string const& subject() const noexcept { return subject_; }
    [[nodiscard]] std::string const& reason() const noexcept { return reason_; }
    [[nodiscard]] char const* what() const noexcept override { return text_.c_str(); }

    /// Adds the outer activity, for instance "layer 2 (dir:app)", in front of the message.
    void within(std::string_view context) {
        context_.insert(0, std::string{context} + ": ");
        compose();
    }

  private:
    void compose() {
        text_ = context_ + operation_;
        if (!subject_.empty()) text_ += " '" + printable(subject_) + "'";
        text_ += ": " + reason_;
    }

    error_code code_;
    std::string operation_, subject_, reason_, context_, text_;
};

/// Wrong usage: an option, name or value that cannot be accepted. The command answers it with exit code 2.
struct option_error : error {
    option_error(std::string subject, std::string reason)
        : error{error_code::option, "option", std::move(subject), std::move(reason)} {}
    option_error(std::string operation, std::string subject, std::string reason)
        : error{error_code::option, std::move(operation), std::move(subject), std::move(reason)} {}
};

/// Bytes that break their format; `reason` gives the place (offset, entry, JSON pointer) where it is known.
struct format_error : error {
    format_error(std::string operation, std::string subject, std::string reason)
        : error{error_code::format, std::move(operation), std::move(subject), std::move(reason)} {}
};

/// Content that does not have the digest or size that was asked for.
struct digest_mismatch : error {
    digest_mismatch(std::string operation, std::string subject, std::string reason)
        : error{error_code::digest_mismatch, std::move(operation), std::move(subject), std::move(reason)} {}
};

/// A refusal of the operating system; number() is the errno value.
class system_error : public error {
  public:
    system_error(std::string operation, std::string path, int number)
        : error{error_code::io, std::move(operation), std::move(path), describe(number)}, number_{number} {}

    [[nodiscard]] int number() const noexcept { return number_; }

  private:
    static std::string describe(int number) {
        char text[128] = "";
        return ::strerror_r(number, text, sizeof text); // the GNU form: thread-safe, unlike strerror
    }

    int number_;
};

} // namespace shiplap

// === shiplap/bytes/file.hpp ===

// Files as byte sources and sinks, and the one way in which shiplap makes a file appear: staged_file.
//
// A staged_file has no name until publish(). It is opened with O_TMPFILE where the file system can, so that
// even a killed process leaves nothing behind; else under a hidden temporary name that the destructor
// removes. publish() makes the bytes durable (fsync), then gives them their name with rename(2), which
// replaces atomically.

namespace shiplap {

/// Owns a file descriptor.
class unique_fd {
  public:
    unique_fd() noexcept = default;
    explicit unique_fd(int fd) noexcept : fd_{fd} {}
    unique_fd(unique_fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~unique_fd() {
        if (fd_ >= 0) ::close(fd_);
    }

    [[nodiscard]] int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

namespace detail {

/// Repeats a system call that a signal interrupted.
template <class Call>
auto retry_interrupted(Call call) {
    auto result = call();
    while (result < 0 && errno == EINTR) result = call();
    return result;
}

inline unique_fd open_file(std::string const& path, int flags, ::mode_t mode = 0) {
    unique_fd fd{retry_interrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); })};
    if (!fd) throw system_error{"open", path, errno};
    return fd;
}

inline void write_fully(int fd, bytes_view in, std::string const& path) {
    while (!in.empty()) {
        auto const n = retry_interrupted([&] { return ::write(fd, in.data(), in.size()); });
        if (n < 0) throw system_error{"write", path, errno};
        in = in.subspan(static_cast<std::size_t>(n));
    }
}

inline void sync_file(int fd, std::string const& path) {
    if (retry_interrupted([&] { return ::fsync(fd); }) != 0) throw system_error{"fsync", path, errno};
}

/// Makes the names in a directory durable.
inline void sync_directory(std::string const& path) {
    auto const fd = open_file(path, O_RDONLY | O_DIRECTORY);
    // Some file systems have nothing to sync in a directory and say so.
    if (retry_interrupted([&] { return ::fsync(fd.get()); }) != 0 && errno != EINVAL && errno != ENOTSUP)
        throw system_error{"fsync", path, errno};
}

/// The folder that holds `path`, as a path that can be opened.
inline std::string parent_of(std::string const& path) {
    auto const folder = std::filesystem::path{path}.parent_path().string();
    return folder.empty() ? "." : folder;
}

/// The nearest folder at or above `path` that exists.
inline std::string existing_ancestor(std::string path) {
    struct ::stat facts {};
    while (::stat(path.c_str(), &facts) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
        auto up = parent_of(path);
        if (up == path) break;
        path = std::move(up);
    }
    return path;
}

} // namespace detail

/// Reads a file from a given offset. Does not share the offset of its descriptor, so several readers may
/// share one file.
class file_reader {
  public:
    /// Opens `path`; throws system_error.
    explicit file_reader(std::string path)
        : path_{std::move(path)}, fd_{detail::open_file(path_, O_RDONLY)} {}
    /// Reads from an open descriptor; `path` is for messages.
    file_reader(unique_fd fd, std::string path) : path_{std::move(path)}, fd_{std::move(fd)} {}

    std::size_t read(bytes_span into) {
        auto const n = detail::retry_interrupted(
            [&] { return ::pread(fd_.get(), into.data(), into.size(), static_cast<::off_t>(offset_)); });
        if (n < 0) throw system_error{"read", path_, errno};
        offset_ += static_cast<std::uint64_t>(n);
        return static_cast<std::size_t>(n);
    }

    /// Back to the first byte: a file_reader is replayable.
    void rewind() noexcept { offset_ = 0; }

    [[nodiscard]] std::string const& path() const noexcept { return path_; }
    [[nodiscard]] int descriptor() const noexcept { return fd_.get(); }

  private:
    std::string path_;
    unique_fd fd_;
    std::uint64_t offset_ = 0;
};

/// Reads a stream that cannot be rewound, such as a pipe or standard input. Does not own the descriptor.
class stream_reader {
  public:
    stream_reader(int fd, std::string name) : fd_{fd}, name_{std::move(name)} {}

    std::size_t read(bytes_span into) {
        auto const n = detail::retry_interrupted([&] { return ::read(fd_, into.data(), into.size()); });
        if (n < 0) throw system_error{"read", name_, errno};
        return static_cast<std::size_t>(n);
    }

  private:
    int fd_;
    std::string name_;
};

/// What a staged_file is for.
enum class staging {
    publication, ///< written to disk from the start, so that publish() has little to wait for
    scratch,     ///< will probably vanish again: need never reach the disk
};

/// A new file without a name. See the top of this header.
class staged_file {
  public:
    /// A file that can later be published anywhere on the file system of `folder`, which must exist.
    explicit staged_file(std::string const& folder, staging purpose = staging::publication)
        : label_{folder}, flush_interval_{purpose == staging::publication ? 8U << 20 : UINT64_MAX} {
        fd_ = unique_fd{detail::retry_interrupted(
            [&] { return ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); })};
        if (fd_) return;
        if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
            throw system_error{"create file in", folder, errno};
        temporary_ = folder + "/.shiplap-XXXXXX";
        fd_ = unique_fd{::mkostemp(temporary_.data(), O_CLOEXEC)};
        if (!fd_) throw system_error{"create file in", folder, errno};
    }
    staged_file(staged_file&& other) noexcept
        : label_{std::move(other.label_)},
          temporary_{std::exchange(other.temporary_, {})},
          fd_{std::move(other.fd_)},
          flush_interval_{other.flush_interval_},
          size_{other.size_},
          flushing_{other.flushing_} {}
    staged_file& operator=(staged_file&& other) noexcept {
        std::swap(label_, other.label_);
        std::swap(temporary_, other.temporary_);
        std::swap(fd_, other.fd_);
        std::swap(flush_interval_, other.flush_interval_);
        std::swap(size_, other.size_);
        std::swap(flushing_, other.flushing_);
        return *this;
    }
    ~staged_file() {
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
    }

    void write(bytes_view in) {
        detail::write_fully(fd_.get(), in, label_);
        size_ += in.size();
        if (size_ - flushing_ >= flush_interval_) start_writing();
    }

    /// Bytes written so far.
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

    /// Lets the disk begin with what was written so far, and does not wait for it.
    void start_writing() noexcept {
        // Only a hint: fsync() tells of failures.
        (void)::sync_file_range(fd_.get(), static_cast<::off64_t>(flushing_),
                                static_cast<::off64_t>(size_ - flushing_), SYNC_FILE_RANGE_WRITE);
        flushing_ = size_;
    }

    /// Bytes written so far, from the start, through a descriptor of its own.
    [[nodiscard]] file_reader reader() const {
        unique_fd copy{::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0)};
        if (!copy) throw system_error{"open", label_, errno};
        return {std::move(copy), label_};
    }

    /// Makes the content durable and visible as `path`, replacing a file of that name. `mode` is exact: no
    /// umask.
    void publish(std::string const& path, ::mode_t mode) {
        settle(path, mode);
        name(path);
    }

    /// The two halves of publish(): who has many files settles them all before the first one gets its name, for a
    /// journaling file system writes its journal at each fsync() that follows a change of names.
    void settle(std::string const& path, ::mode_t mode) {
        if (::fchmod(fd_.get(), mode) != 0) throw system_error{"set mode of", path, errno};
        detail::sync_file(fd_.get(), path);
    }
    void name(std::string const& path) {
        if (temporary_.empty()) link_beside(path);
        if (::rename(temporary_.c_str(), path.c_str()) != 0) throw system_error{"write", path, errno};
        temporary_.clear();
    }

  private:
    // linkat() does not replace, rename() does: link under a free hidden name first.
    void link_beside(std::string const& path) {
        auto const self = "/proc/self/fd/" + std::to_string(fd_.get());
        auto const folder = detail::parent_of(path);
        for (unsigned attempt = 0;; ++attempt) {
            auto name = folder + "/.shiplap-" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
            if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
                temporary_ = std::move(name);
                return;
            }
            if (errno != EEXIST || attempt == 10'000) throw system_error{"write", path, errno};
        }
    }

    std::string label_;     // for messages
    std::string temporary_; // the hidden name, if there is one
    unique_fd fd_;
    std::uint64_t flush_interval_;          // bytes
    std::uint64_t size_ = 0, flushing_ = 0; // written; of these handed to the disk
};

/// Reads a whole small file; one that has more than `limit` bytes is a format_error.
inline std::string read_file(std::string const& path, std::uint64_t limit) {
    file_reader file{path};
    std::string text;
    std::array<std::byte, 16 * 1024>
        buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by read()
    while (auto const n = file.read(buffer)) {
        text.append(as_text(bytes_view{buffer}.first(n)));
        if (text.size() > limit)
            throw format_error{"read", path, "larger than the limit of " + std::to_string(limit) + " bytes"};
    }
    return text;
}

/// Writes a whole small file atomically, with exactly this mode.
inline void write_file(std::string const& path, std::string_view text, ::mode_t mode = 0644) {
    staged_file file{detail::parent_of(path)};
    file.write(as_bytes(text));
    file.publish(path, mode);
}

/// Holds an exclusive advisory lock on a directory until destroyed; waits for other holders, threads
/// included. It locks the directory itself, not a file in it: nothing has to be created, so nothing is left
/// behind or removed while others wait for it. Throws system_error, with ENOENT if there is no such directory
/// any more.
class folder_lock {
  public:
    explicit folder_lock(std::string const& path) {
        for (;;) {
            fd_ = detail::open_file(path, O_RDONLY | O_DIRECTORY);
            if (detail::retry_interrupted([&] { return ::flock(fd_.get(), LOCK_EX); }) != 0)
                throw system_error{"lock", path, errno};
            // While we waited the directory may have been removed, and another one made in its place.
            struct ::stat held {
            }, there{};
            if (::fstat(fd_.get(), &held) != 0 || ::stat(path.c_str(), &there) != 0)
                throw system_error{"lock", path, errno};
            if (held.st_dev == there.st_dev && held.st_ino == there.st_ino) return;
        }
    }

  private:
    unique_fd fd_; // closing it releases the lock
};

} // namespace shiplap

// === shiplap/bytes/gather.hpp ===

// gather: a stage that turns many small writes (headers, small files) into few large ones, so that what comes
// behind it (hashing, write(2)) works in chunks of a good size. Large writes pass through without a copy.

namespace shiplap {

class gather {
  public:
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        if (in.size() > transfer_size - used_) flush(out);
        if (in.size() >= transfer_size / 2) {
            flush(out);
            out.write(in);
            return;
        }
        if (in.empty()) return;
        std::memcpy(buffer_.get() + used_, in.data(), in.size());
        used_ += in.size();
    }

    template <byte_sink Out>
    void finish(Out& out) {
        flush(out);
    }

  private:
    template <byte_sink Out>
    void flush(Out& out) {
        if (used_ == 0) return;
        auto const held = std::exchange(used_, std::size_t{0});
        out.write(bytes_view{buffer_.get(), held});
    }

    std::unique_ptr<std::byte[]> buffer_ = std::make_unique_for_overwrite<std::byte[]>(transfer_size);
    std::size_t used_ = 0;
};

} // namespace shiplap

// === shiplap/bytes/pipeline.hpp ===

// A chain of stages that ends in a sink, itself a byte_sink:
//
//     pipeline pipe{plain_tap, encoder, packed_tap, blob};
//     source.write_tar(pipe);
//     pipe.finish();
//
// It lends room if its first stage does: room(out) and filled(n, out), as in lending_sink.
//
// Stages are held by reference, so that their results (a digest, a count) can be asked for afterwards. Where
// the types are known the whole chain is one inlined function per chunk; backpressure is the call stack.

namespace shiplap {

template <class T, class Out>
concept lends_before = requires(T& stage, std::size_t n, Out& out) {
    { stage.room(out) } -> std::same_as<bytes_span>;
    stage.filled(n, out);
};

/// The first part and the pipeline of those behind it, which it writes into.
template <class First, class... Rest>
class pipeline {
  public:
    explicit pipeline(First& first, Rest&... rest) : first_{first}, rest_{rest...} {}

    void write(bytes_view in) { first_.write(in, rest_); }

    [[nodiscard]] bytes_span room() requires lends_before<First, pipeline<Rest...>> {
        return first_.room(rest_);
    }
    void filled(std::size_t n) requires lends_before<First, pipeline<Rest...>> { first_.filled(n, rest_); }

    /// Lets every stage push what it holds back, first to last. Call once, after the last write().
    void finish() {
        first_.finish(rest_);
        rest_.finish();
    }

  private:
    First& first_;
    pipeline<Rest...> rest_;
};

/// The end: a byte_sink.
template <class Sink>
class pipeline<Sink> {
  public:
    explicit pipeline(Sink& sink) : sink_{sink} {}

    void write(bytes_view in) { sink_.write(in); }
    void finish() noexcept {}

    [[nodiscard]] bytes_span room() requires lending_sink<Sink> { return sink_.room(); }
    void filled(std::size_t n) requires lending_sink<Sink> { sink_.filled(n); }

  private:
    Sink& sink_;
};

template <class... Parts>
pipeline(Parts&...) -> pipeline<Parts...>;

} // namespace shiplap

// === shiplap/codec/deflate.hpp ===

// deflate: the compressor inside gzip and estargz, as a policy.
//
//   concept            expression                  meaning
//   deflate_backend    b.name                      for compression-variant=... and messages: "zlib"
//                      b.levels                    allowed levels, both ends included
//                      b.compressor(level)         a block_compressor of such a level
//   block_compressor   c.bound(size)               bytes that a block of `size` bytes may need, at most
//                      c.compress(in, into) -> n   packs `in` into one complete raw deflate stream (RFC 1951, final bit
//                                                  set) of n bytes; `into` has room for bound(in.size())
//
//   refinement         expression                  meaning
//   checksummer        c.crc32(in)                 the CRC-32 of gzip (RFC 1952, section 8), where a library has a fast one
//
// A backend sees whole blocks of a few MiB at most and keeps no state between them, so that libraries without
// streaming fit, and so that blocks compress in parallel. Its output depends on level and block alone. Level -1,
// default_level, is the backend's own choice; what other numbers mean is the library's affair.
//
// Models: zlib_backend; libdeflate_backend and isal_backend, which need libraries of their own and one include each;
// any_backend, for a choice at run time.

namespace shiplap {

/// Allowed compression levels, both ends included.
struct level_range {
    int lowest, highest;
    [[nodiscard]] constexpr bool contains(int level) const noexcept {
        return lowest <= level && level <= highest;
    }
    friend bool operator==(level_range, level_range) = default;
};

/// The level that leaves the choice to the backend.
inline constexpr int default_level = -1;

template <class C>
concept block_bound = requires(C const& compressor, std::size_t size) {
    { compressor.bound(size) } -> std::same_as<std::size_t>;
};

template <class C>
concept block_packer = requires(C& compressor, bytes_view in, bytes_span into) {
    { compressor.compress(in, into) } -> std::same_as<std::size_t>;
};

/// See the table above.
template <class C>
concept block_compressor = std::movable<C> && block_bound<C> && block_packer<C>;

template <class C>
concept checksummer = requires(C const& compressor, bytes_view in) {
    { compressor.crc32(in) } -> std::same_as<std::uint32_t>;
};

template <class B>
concept named_backend = requires(B const& backend) {
    { backend.name } -> std::convertible_to<std::string_view>;
};

template <class B>
concept leveled_backend = requires(B const& backend) {
    { backend.levels } -> std::convertible_to<level_range>;
};

template <class B>
using compressor_of = decltype(std::declval<B const&>().compressor(1));

/// See the table above.
template <class B>
concept deflate_backend = std::copy_constructible<B> && named_backend<B> && leveled_backend<B> &&
    block_compressor<compressor_of<B>>;

} // namespace shiplap

// === shiplap/codec/zlib_backend.hpp ===

// zlib_backend: the reference implementation of deflate, everywhere at hand.

namespace shiplap {

namespace detail {

/// The CRC-32 of gzip (RFC 1952, section 8), continued from `crc`.
inline std::uint32_t crc32_of(bytes_view in, std::uint32_t crc = 0) {
    return static_cast<std::uint32_t>(
        ::crc32_z(crc, reinterpret_cast<Bytef const*>(in.data()), static_cast<z_size_t>(in.size())));
}

/// The CRC-32 of what has `first` and then `size` bytes that have `second`.
inline std::uint32_t joined_crc32(std::uint32_t first, std::uint32_t second, std::size_t size) {
    return static_cast<std::uint32_t>(::crc32_combine(first, second, static_cast<z_off_t>(size)));
}

/// See deflate.hpp. Beyond that it packs parts of streams.
class zlib_compressor {
  public:
    explicit zlib_compressor(int level) : z_{new z_stream{}} {
        // 15: window of 32 KiB, negative for no wrapper. 8: zlib's default of about 256 KiB of state.
        if (::deflateInit2(z_.get(), level, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
            throw std::bad_alloc{};
    }

    [[nodiscard]] std::size_t bound(std::size_t size) const { return ::deflateBound(z_.get(), size); }

    [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) {
        return compress_part(in, into, true);
    }

    /// What compress_part() needs at most.
    [[nodiscard]] std::size_t bound_of_part(std::size_t size) const {
        constexpr std::size_t empty_block = 8; // with what fills up the byte before it
        return bound(size) + empty_block;
    }

    /// The same for a part of a stream: what is not the last one ends on a byte boundary and without the final bit, so
    /// that another one can follow.
    [[nodiscard]] std::size_t compress_part(bytes_view in, bytes_span into, bool is_last) {
        ::deflateReset(z_.get());
        auto const room = into.size();
        do { // zlib's sizes have 32 bits
            auto const piece = in.first(std::min(in.size(), most));
            auto const space = into.first(std::min(into.size(), most));
            z_->next_in = const_cast<Bytef*>(reinterpret_cast<Bytef const*>(piece.data()));
            z_->avail_in = static_cast<uInt>(piece.size());
            z_->next_out = reinterpret_cast<Bytef*>(space.data());
            z_->avail_out = static_cast<uInt>(space.size());
            // Cannot fail: the stream is live and there is room.
            auto const at_end = is_last ? Z_FINISH : Z_FULL_FLUSH;
            ::deflate(z_.get(), piece.size() == in.size() ? at_end : Z_NO_FLUSH);
            in = in.subspan(piece.size() - z_->avail_in);
            into = into.subspan(space.size() - z_->avail_out);
        } while (!in.empty());
        return room - into.size();
    }

  private:
    static constexpr std::size_t most = std::size_t{1} << 30;

    struct closer {
        void operator()(z_stream* z) const noexcept {
            ::deflateEnd(z);
            delete z;
        }
    };
    std::unique_ptr<z_stream, closer> z_; // stays where it is made: zlib keeps a pointer to it
};

/// The CRC-32 of `in`, by the compressor if it has a way of its own.
template <block_compressor C>
std::uint32_t checksum(C const& compressor, bytes_view in) {
    if constexpr (checksummer<C>)
        return compressor.crc32(in);
    else
        return crc32_of(in);
}

} // namespace detail

/// Level 0 stores, 1 is fastest, 9 smallest; zlib itself takes 6.
struct zlib_backend {
    static constexpr std::string_view name = "zlib";
    static constexpr level_range levels{default_level, 9};

    [[nodiscard]] static detail::zlib_compressor compressor(int level) {
        return detail::zlib_compressor{level};
    }
    friend bool operator==(zlib_backend, zlib_backend) = default;
};

} // namespace shiplap

// === shiplap/codec/any_backend.hpp ===

// any_backend: any deflate_backend as a value, for a choice at run time. Costs one indirect call a block.
//
//     basic_gzip<any_backend> how{.level = 9, .backend = zlib_backend{}};

namespace shiplap {

/// Owns any block_compressor; movable. A checksummer, whether that one is or not.
class any_compressor {
  public:
    template <class C>
        requires(!std::same_as<C, any_compressor> && block_compressor<C>)
    explicit any_compressor(C compressor) : self_{std::make_unique<model<C>>(std::move(compressor))} {}

    [[nodiscard]] std::size_t bound(std::size_t size) const { return self_->bound(size); }
    [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) { return self_->compress(in, into); }
    [[nodiscard]] std::uint32_t crc32(bytes_view in) const { return self_->crc32(in); }

  private:
    struct base {
        base() = default;
        base(base const&) = delete;
        base& operator=(base const&) = delete;
        virtual ~base() = default;
        [[nodiscard]] virtual std::size_t bound(std::size_t size) const = 0;
        [[nodiscard]] virtual std::size_t compress(bytes_view in, bytes_span into) = 0;
        [[nodiscard]] virtual std::uint32_t crc32(bytes_view in) const = 0;
    };
    template <class C>
    struct model final : base {
        explicit model(C what) : compressor{std::move(what)} {}
        [[nodiscard]] std::size_t bound(std::size_t size) const override { return compressor.bound(size); }
        [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) override {
            return compressor.compress(in, into);
        }
        [[nodiscard]] std::uint32_t crc32(bytes_view in) const override {
            return detail::checksum(compressor, in);
        }
        C compressor;
    };
    std::unique_ptr<base> self_;
};

/// A deflate_backend like the one that it was made of, zlib_backend by default. Two are equal that have the same name.
class any_backend {
  public:
    any_backend() : any_backend{zlib_backend{}} {}

    /// `B` is a policy without a state: its type alone is kept.
    template <class B>
        requires std::is_empty_v<B> && std::default_initializable<B> && deflate_backend<B>
        any_backend(B) // NOLINT(google-explicit-constructor): a value conversion that loses nothing
            : name{B::name}, levels{B::levels}, make_{[](int level) {
                  return any_compressor{B{}.compressor(level)};
              }} {}

        std::string_view name;
        level_range levels;

        [[nodiscard]] any_compressor compressor(int level) const {
            return make_(level);
        }
        friend bool operator==(any_backend const& a, any_backend const& b) {
            return a.name == b.name;
        }

      private:
        any_compressor (*make_)(int level);
};

} // namespace shiplap

// === shiplap/codec/block_queue.hpp ===

// block_queue: blocks of work that run on an executor and come back in order.
//
//     queue.post(std::move(block));                         // block.run() will be called once, somewhere
//     while (queue.full()) emit(queue.take());              // oldest first; rethrows what its run() threw
//     while (!queue.empty()) emit(queue.take());
//
// What is in flight is bounded twice: by number (a few blocks for every worker, so that none idles) and by
// weight (6.5 MiB a worker and 28 MiB, of which each user of the executor has a share). With an executor without
// workers run() is called inside post() and at most one block exists.
//
// A block that nobody has started when its turn comes is run by take() itself. So an encoder makes progress
// even where all workers are busy with something that waits for this very encoder.

namespace shiplap {

/// Work that owns all it needs: run() may be called on any thread, weight() is the bytes of memory it takes.
template <class B>
concept parallel_block = std::movable<B> && requires(B& block, B const& same) {
    block.run();
    { same.weight() } -> std::convertible_to<std::size_t>;
};

template <parallel_block Block>
class block_queue {
  public:
    explicit block_queue(executor_ref executor) noexcept : executor_{executor} {}
    block_queue(block_queue&&) noexcept = default;
    block_queue& operator=(block_queue&& other) noexcept {
        cancel();
        executor_ = other.executor_;
        slots_ = std::exchange(other.slots_, {});
        weight_ = std::exchange(other.weight_, 0);
        last_weight_ = other.last_weight_;
        return *this;
    }
    /// Blocks that have not started never will. Those that run finish on their own: each is kept alive by its
    /// task and refers to nothing else. For blocks that do there is abandon().
    ~block_queue() { cancel(); }

    /// Hands `block` to the executor.
    void post(Block block) {
        auto const weight = block.weight();
        auto const work = std::make_shared<slot>(std::move(block), weight);
        slots_.push_back(work);
        weight_ += weight;
        last_weight_ = weight;
        executor_.post([work] { work->run(); });
    }

    [[nodiscard]] bool empty() const noexcept { return slots_.empty(); }

    [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }

    /// True if a block must be taken before the next one is posted, which is expected to weigh what the last one did.
    [[nodiscard]] bool full() const noexcept {
        std::size_t const workers = executor_.concurrency();
        if (workers == 0) return !empty();
        auto const most = (base_weight + workers * weight_per_worker) / executor_.users();
        return slots_.size() > 2 * workers + 1 || (!empty() && weight_ + last_weight_ > most);
    }

    /// Waits for the oldest block; rethrows what its run() threw. Not for an empty queue.
    [[nodiscard]] Block take() {
        auto const work = std::move(slots_.front());
        slots_.pop_front();
        weight_ -= work->weight;
        work->run();
        work->state.wait(running);
        if (work->failure) std::rethrow_exception(work->failure);
        return std::move(work->block);
    }

    /// Blocks that have not started never will; waits for those that run.
    void abandon() noexcept {
        cancel();
        for (auto const& work : slots_) work->state.wait(running);
        slots_.clear();
        weight_ = 0;
    }

  private:
    static constexpr std::size_t base_weight = 28 * 1024 * 1024, weight_per_worker = 13 * 512 * 1024;
    enum progress { waiting, running, done };

    struct slot {
        slot(Block what, std::size_t bytes) : block{std::move(what)}, weight{bytes} {}

        /// Runs the block unless somebody else has begun to.
        void run() noexcept {
            auto expected = waiting;
            if (!state.compare_exchange_strong(expected, running)) return;
            try {
                block.run();
            } catch (...) {
                failure = std::current_exception();
            }
            state = done;
            state.notify_all();
        }

        Block block;
        std::size_t weight;
        std::exception_ptr failure;
        std::atomic<progress> state{waiting};
    };

    void cancel() noexcept {
        for (auto const& work : slots_) {
            auto expected = waiting;
            work->state.compare_exchange_strong(expected, done);
        }
    }

    executor_ref executor_;
    std::list<std::shared_ptr<slot>> slots_;
    std::size_t weight_ = 0, last_weight_ = 0;
};

} // namespace shiplap

// === shiplap/codec/block_writer.hpp ===

// block_writer: gathers plain bytes into blocks, has them packed on the executor, and gives them back in order. What all
// codecs share that pack blocks which know nothing of each other.
//
//   a packing_block   meaning
//   b.prepare()       makes room for what run() will pack: an allocator that has a heap for each thread would keep what
//                     workers give back
//   b.run()           packs: see block_queue.hpp
//   b.reuse()         empty again, with the memory that it has
//   b.another()       an empty one of the same kind

namespace shiplap::detail {

template <class B>
concept packing_block = parallel_block<B> && requires(B& block) {
    block.prepare();
    block.reuse();
    { block.another() } -> std::same_as<B>;
};

/// Room for packed bytes, not initialised: a string would set all of it to zero first.
class packed_bytes {
  public:
    /// What is free behind the bytes that it has.
    [[nodiscard]] bytes_span room() noexcept { return {memory_.get() + size_, capacity_ - size_}; }
    /// Takes over so many of the bytes of room().
    void add(std::size_t size) noexcept { size_ += size; }
    void add(bytes_view bytes) noexcept {
        std::memcpy(memory_.get() + size_, bytes.data(), bytes.size());
        size_ += bytes.size();
    }

    /// Empties it, and makes room for so many bytes.
    void reset(std::size_t capacity) {
        size_ = 0;
        if (capacity <= capacity_) return;
        memory_ = std::make_unique_for_overwrite<std::byte[]>(capacity);
        capacity_ = capacity;
    }

    [[nodiscard]] bytes_view bytes() const noexcept { return {memory_.get(), size_}; }
    [[nodiscard]] bytes_span bytes() noexcept { return {memory_.get(), size_}; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

  private:
    std::unique_ptr<std::byte[]> memory_;
    std::size_t size_ = 0, capacity_ = 0;
};

template <packing_block Block>
class block_writer {
  public:
    block_writer(executor_ref executor, Block first) : queue_{executor}, block_{std::move(first)} {}

    /// The block that is being filled.
    [[nodiscard]] Block& block() noexcept { return block_; }

    /// Sends the block off; `emit(block)` is called for every block whose turn has come.
    template <class Emit>
    void post(Emit emit) {
        auto next = spare_ ? std::move(*spare_) : block_.another();
        spare_.reset();
        block_.prepare();
        queue_.post(std::exchange(block_, std::move(next)));
        while (queue_.full()) emit_oldest(emit);
    }

    /// Waits for all blocks that were posted.
    template <class Emit>
    void drain(Emit emit) {
        while (!queue_.empty()) emit_oldest(emit);
    }

  private:
    template <class Emit>
    void emit_oldest(Emit& emit) {
        auto block = queue_.take();
        emit(std::as_const(block));
        block.reuse();
        spare_ = std::move(block);
    }

    block_queue<Block> queue_;
    Block block_;
    std::optional<Block> spare_; // one comes back for each that goes
};

} // namespace shiplap::detail

// === shiplap/codec/compressor_pool.hpp ===

// compressor_pool: compressors are large and costly to make, so the blocks of an encoder lend them to each other. There
// are never more than blocks that are packed at the same time.

namespace shiplap::detail {

/// `Make` is a callable without arguments. May be used on several threads at once.
template <class Make>
class compressor_pool {
  public:
    explicit compressor_pool(Make make) : make_{std::move(make)} {}

    /// What `action(compressor)` returns. If it throws, nobody gets that compressor again.
    template <class Action>
    auto lend(Action action) {
        auto mine = take();
        auto result = action(mine);
        std::lock_guard const lock{mutex_};
        idle_.push_back(std::move(mine));
        return result;
    }

  private:
    using compressor = decltype(std::declval<Make const&>()());

    compressor take() {
        {
            std::lock_guard const lock{mutex_};
            if (!idle_.empty()) {
                auto one = std::move(idle_.back());
                idle_.pop_back();
                return one;
            }
        }
        return make_();
    }

    Make make_;
    std::mutex mutex_;
    std::vector<compressor> idle_;
};

} // namespace shiplap::detail

// === shiplap/codec/concept.hpp ===

// codec: how the tar of a layer is packed into a blob. A codec is a small aggregate of options, such as
// zstd{.level = 19}, that makes encoder stages and decoders.
//
//   expression              meaning
//   C::name                 what the user writes in compression=..., unique
//   C::encoding             what a media type calls it: "", "gzip", "zstd"; several codecs may share one
//   c.encoder(executor)     a byte_stage; throws option_error if an option is out of range
//   C::decoder()            a byte_decoder, the inverse
//
//   refinement              expression               meaning
//   leveled_codec           c.levels(), c.level      allowed levels, inclusive; the level in use
//   annotating_encoder      e.annotations()          after finish(): annotations for the layer's descriptor
//   extending_encoder       e.write_extension(out)   after finish(): the plain bytes that the encoder added
//                                                    behind its input, which the diff_id covers
//
// An encoder's output depends on its input and the options alone: not on the executor, nor on how the input is cut
// into writes. Blocks may be posted to the executor, a bounded number at a time, and come out in order.
//
// Exemplar, compiled in tests/codec/concept.cpp:
//
//     struct store_codec {
//         static constexpr std::string_view name = "store", encoding = "";
//         struct stage {
//             void write(bytes_view in, byte_sink auto& out) { out.write(in); }
//             void finish(byte_sink auto&) {}
//         };
//         struct reader {
//             std::size_t read(byte_source auto& in, bytes_span into) { return in.read(into); }
//         };
//         stage encoder(executor_ref) const { return {}; }
//         static reader decoder() { return {}; }
//     };
//
// Models: uncompressed, gzip, estargz, zstd.

namespace shiplap {

/// Keys and values of descriptors and manifests, in byte order of the keys (image-spec, annotations.md).
using annotation_map = std::map<std::string, std::string>;

template <class C>
concept named_codec = requires {
    { C::name } -> std::convertible_to<std::string_view>;
    { C::encoding } -> std::convertible_to<std::string_view>;
};

template <class C>
using encoder_of = decltype(std::declval<C const&>().encoder(executor_ref{}));

template <class C>
using decoder_of = decltype(C::decoder());

/// See the table above.
template <class C>
concept codec =
    std::copy_constructible<C> && named_codec<C> && byte_stage<encoder_of<C>> && byte_decoder<decoder_of<C>>;

template <class C>
concept leveled_codec = codec<C> && requires(C const& c) {
    { c.levels() } -> std::same_as<level_range>;
    { c.level } -> std::convertible_to<int>;
};

template <class E>
concept annotating_encoder = byte_stage<E> && requires(E const& encoder) {
    { encoder.annotations() } -> std::same_as<annotation_map>;
};

/// What tells an eStargz layer from any other in gzip.
inline constexpr char toc_digest_annotation[] = "containerd.io/snapshot/stargz/toc.digest";

template <class E>
concept extending_encoder = byte_stage<E> && requires(E& encoder, null_sink& out) {
    encoder.write_extension(out);
};

} // namespace shiplap

// === shiplap/codec/packed_input.hpp ===

// packed_input: the packed bytes that a decoder has read and not yet used. 64 KiB, whatever the stream.

namespace shiplap::detail {

class packed_input {
  public:
    /// Bytes at hand.
    [[nodiscard]] bytes_view bytes() const noexcept { return {buffer_.get() + begin_, end_ - begin_}; }

    /// Drops the first n of them.
    void consume(std::size_t n) noexcept {
        begin_ += n;
        offset_ += n;
    }

    /// Position of the first byte at hand in the packed stream, for messages.
    [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }

    /// Reads until at least `wanted` bytes are at hand, at most 64 KiB; false if the source ends before that.
    template <byte_source In>
    bool fill(In& in, std::size_t wanted) {
        while (end_ - begin_ < wanted) {
            if (!buffer_) buffer_ = std::make_unique<std::byte[]>(capacity);
            std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
            end_ -= begin_;
            begin_ = 0;
            auto const n = in.read({buffer_.get() + end_, capacity - end_});
            if (n == 0) return false;
            end_ += n;
        }
        return true;
    }

  private:
    static constexpr std::size_t capacity = 64 * 1024;

    std::unique_ptr<std::byte[]> buffer_; // made when first needed: a decoder is cheap to make and to move
    std::size_t begin_ = 0, end_ = 0;
    std::uint64_t offset_ = 0;
};

} // namespace shiplap::detail

// === shiplap/codec/gzip_decoder.hpp ===

// gzip_decoder: unpacks gzip (RFC 1952), as many members as there are, strictly.
//
// Every member's header, CRC and size are checked. The stream must end where a member ends: what follows and
// is no member, zero bytes included, is an error, as it is for the container engines, though not for gzip(1).

namespace shiplap {

/// A byte_decoder. Keeps 64 KiB of packed bytes and the 32 KiB window of deflate, no more.
class gzip_decoder {
  public:
    gzip_decoder() : z_{new z_stream{}} {
        // 15: the largest window, plus 16: gzip's header and trailer and no other.
        if (::inflateInit2(z_.get(), 15 + 16) != Z_OK) throw std::bad_alloc{};
    }

    /// Fills `into` as far as the stream goes; throws format_error on anything that is not gzip.
    template <byte_source In>
    std::size_t read(In& in, bytes_span into) {
        std::size_t filled = 0;
        while (filled < into.size() && (in_member_ || begin_member(in)))
            filled += read_member(in, into.subspan(filled));
        return filled;
    }

    // Member by member, for who has to know where one begins:
    //     while (decoder.begin_member(in))
    //         while (auto const n = decoder.read_member(in, space)) ...

    /// Begins the next member; false if the stream ends here. The one before must have been read to its end.
    template <byte_source In>
    bool begin_member(In& in) {
        auto const at = packed_.offset();
        if (!packed_.fill(in, 1)) {
            if (at == 0) fail("it is empty; even no content is a member of 20 bytes");
            return false;
        }
        if (packed_.bytes().front() != std::byte{0x1f}) {
            if (at == 0) fail("it does not begin with a gzip header");
            fail("bytes that are no member follow the last one, at offset " + std::to_string(at));
        }
        ::inflateReset(z_.get());
        in_member_ = true;
        member_offset_ = at;
        return true;
    }

    /// Fills `into` as far as the member goes; 0: it has ended.
    template <byte_source In>
    std::size_t read_member(In& in, bytes_span into) {
        static constexpr std::size_t most = std::size_t{1} << 30; // avail_out has 32 bits
        auto const size = std::min(into.size(), most);
        z_->next_out = reinterpret_cast<Bytef*>(into.data());
        z_->avail_out = static_cast<uInt>(size);
        while (z_->avail_out != 0 && in_member_) continue_member(in);
        return size - z_->avail_out;
    }

    /// Where in the packed stream the member starts that was begun last.
    [[nodiscard]] std::uint64_t member_offset() const noexcept { return member_offset_; }

  private:
    template <byte_source In>
    void continue_member(In& in) {
        if (!packed_.fill(in, 1))
            fail("truncated: it ends at offset " + std::to_string(packed_.offset()) + ", inside a member");
        auto const bytes = packed_.bytes();
        z_->next_in = const_cast<Bytef*>(reinterpret_cast<Bytef const*>(bytes.data()));
        z_->avail_in = static_cast<uInt>(bytes.size());
        auto const status = ::inflate(z_.get(), Z_NO_FLUSH);
        packed_.consume(bytes.size() - z_->avail_in);
        if (status == Z_STREAM_END)
            in_member_ = false;
        else if (status == Z_MEM_ERROR)
            throw std::bad_alloc{};
        else if (status != Z_OK && status != Z_BUF_ERROR)
            fail(std::string{z_->msg != nullptr ? z_->msg : "a dictionary is asked for"} + " at offset " +
                 std::to_string(packed_.offset()));
    }

    [[noreturn]] static void fail(std::string reason) {
        throw format_error{"unpack", "gzip stream", std::move(reason)};
    }

    struct closer {
        void operator()(z_stream* z) const noexcept {
            ::inflateEnd(z);
            delete z;
        }
    };
    std::unique_ptr<z_stream, closer> z_; // zlib keeps a pointer to it: it must not move
    detail::packed_input packed_;
    std::uint64_t member_offset_ = 0;
    bool in_member_ = false;
};

} // namespace shiplap

// === shiplap/codec/level.hpp ===

// The one check that all codecs with a level share.

namespace shiplap::detail {

/// Throws option_error unless the codec has the level that it was given.
template <class C>
void check_level(C const& how) {
    level_range const allowed = how.levels();
    if (allowed.contains(how.level)) return;
    std::string name{C::name};
    if constexpr (requires { how.backend.name; }) name += " by " + std::string{how.backend.name};
    throw option_error{"compression-level", std::to_string(how.level) + " is no level of " + name +
                                                ": it must be between " + std::to_string(allowed.lowest) +
                                                " and " + std::to_string(allowed.highest)};
}

} // namespace shiplap::detail

// === shiplap/codec/zstd.hpp ===

// zstd: packs better than gzip and unpacks several times faster (RFC 8878). Media types of zstd layers exist
// only in OCI images, older engines cannot read them.
//
// The output is one frame for every 8 MiB of input, the last one shorter, whatever the number of workers and the size
// of the writes; an empty input is one empty frame. Each tells the size of its content and ends with a checksum. Its
// window is all of it: 8 MiB, which every decoder must offer (RFC 8878, section 3.1.1.1.2), and more than libzstd takes at
// low levels. That wins back what a cut every 8 MiB loses. Frames are packed in parallel, and can be unpacked so.
//
// libzstd's own workers are not used: they pack one frame, whose jobs each read again what stands before them, hash one
// after the other, and stop whenever the thread that feeds them does something else.

namespace shiplap {

namespace detail {

/// A result of libzstd, if it is no error.
inline std::size_t zstd_checked(std::size_t result, char const* operation) {
    if (::ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) throw std::bad_alloc{};
    if (::ZSTD_isError(result)) throw format_error{operation, "zstd stream", ::ZSTD_getErrorName(result)};
    return result;
}

/// Does a frame begin here? Either kind: with content, or to be skipped.
inline bool is_zstd_frame(bytes_view head) {
    auto const text = as_text(head);
    if (text.starts_with("\x28\xb5\x2f\xfd")) return true;
    return text.size() >= 4 && (text[0] & 0xf0) == 0x50 && text.substr(1, 3) == "\x2a\x4d\x18";
}

/// Packs frames of one level.
class zstd_compressor {
  public:
    explicit zstd_compressor(int level) : context_{::ZSTD_createCCtx()} {
        if (!context_) throw std::bad_alloc{};
        set(ZSTD_c_compressionLevel, level);
        set(ZSTD_c_checksumFlag, 1);
        set(ZSTD_c_windowLog, 23);
    }

    /// `into` has room for ZSTD_compressBound(in.size()) bytes.
    [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) {
        return zstd_checked(::ZSTD_compress2(context_.get(), into.data(), into.size(), in.data(), in.size()),
                            "pack");
    }

  private:
    void set(ZSTD_cParameter what, int value) {
        zstd_checked(::ZSTD_CCtx_setParameter(context_.get(), what, value), "pack");
    }

    struct closer {
        void operator()(ZSTD_CCtx* context) const noexcept { ::ZSTD_freeCCtx(context); }
    };
    std::unique_ptr<ZSTD_CCtx, closer> context_;
};

struct zstd_compressor_maker {
    int level;
    [[nodiscard]] zstd_compressor operator()() const { return zstd_compressor{level}; }
};

/// Plain bytes that become one frame. A packing_block.
class zstd_block {
  public:
    using pool = compressor_pool<zstd_compressor_maker>;
    explicit zstd_block(std::shared_ptr<pool> compressors) : compressors_{std::move(compressors)} {}

    std::string plain;
    packed_bytes packed; ///< set by run()

    void prepare() { packed.reset(::ZSTD_compressBound(plain.size())); }
    void run() {
        packed.add(compressors_->lend(
            [this](zstd_compressor& one) { return one.compress(as_bytes(plain), packed.room()); }));
    }
    /// Memory for plain and packed bytes; of the latter only what is written to counts, seldom more than half.
    [[nodiscard]] std::size_t weight() const noexcept { return plain.size() + plain.size() / 2; }

    void reuse() { plain.clear(); }
    [[nodiscard]] zstd_block another() const { return zstd_block{compressors_}; }

  private:
    std::shared_ptr<pool> compressors_;
};

} // namespace detail

/// The encoder stage of zstd.
class zstd_encoder {
  public:
    /// Plain bytes in a frame.
    static constexpr std::size_t frame_size = std::size_t{8} * 1024 * 1024;

    zstd_encoder(executor_ref executor, int level)
        : blocks_{executor, detail::zstd_block{std::make_shared<detail::zstd_block::pool>(
                                detail::zstd_compressor_maker{level})}} {}

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        while (!in.empty()) {
            auto& plain = blocks_.block().plain;
            auto const piece = in.first(std::min(in.size(), frame_size - plain.size()));
            plain.reserve(frame_size);
            plain.append(as_text(piece));
            in = in.subspan(piece.size());
            if (plain.size() == frame_size) post(out);
        }
    }

    template <byte_sink Out>
    void finish(Out& out) {
        if (!posted_ || !blocks_.block().plain.empty()) post(out);
        blocks_.drain(into(out));
    }

  private:
    template <byte_sink Out>
    static auto into(Out& out) {
        return [&out](detail::zstd_block const& block) { out.write(block.packed.bytes()); };
    }

    template <byte_sink Out>
    void post(Out& out) {
        blocks_.post(into(out));
        posted_ = true;
    }

    detail::block_writer<detail::zstd_block> blocks_;
    bool posted_ = false;
};

/// A byte_decoder for zstd: one frame or more, skippable ones included (RFC 8878, section 3.1.2). The stream
/// must end where a frame ends. A frame that wants a window of more than 128 MiB or a dictionary is refused.
class zstd_decoder {
  public:
    zstd_decoder() : context_{::ZSTD_createDCtx()} {
        if (!context_) throw std::bad_alloc{};
        detail::zstd_checked(::ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, 27), "unpack");
    }

    /// Fills `into` as far as the stream goes; throws format_error on anything that is not zstd.
    template <byte_source In>
    std::size_t read(In& in, bytes_span into) {
        ZSTD_outBuffer output{into.data(), into.size(), 0};
        while (output.pos < output.size && (in_frame_ || begin_frame(in))) continue_frame(in, output);
        return output.pos;
    }

  private:
    static constexpr std::size_t magic_size = 4;

    template <byte_source In>
    bool begin_frame(In& in) {
        auto const at = packed_.offset();
        auto const place = " at offset " + std::to_string(at);
        if (!packed_.fill(in, magic_size)) {
            if (!packed_.bytes().empty()) fail("bytes that are no frame are left" + place);
            if (at == 0) fail("it is empty; even no content is a frame");
            return false;
        }
        if (!detail::is_zstd_frame(packed_.bytes())) fail("there is no frame" + place);
        in_frame_ = true;
        return true;
    }

    template <byte_source In>
    void continue_frame(In& in, ZSTD_outBuffer& output) {
        // With room in `output` and nothing to read, what libzstd still held back it would have written
        // before.
        if (!packed_.fill(in, 1))
            fail("truncated: it ends at offset " + std::to_string(packed_.offset()) + ", inside a frame");
        auto const bytes = packed_.bytes();
        ZSTD_inBuffer input{bytes.data(), bytes.size(), 0};
        auto const left =
            detail::zstd_checked(::ZSTD_decompressStream(context_.get(), &output, &input), "unpack");
        packed_.consume(input.pos);
        in_frame_ = left != 0;
    }

    [[noreturn]] static void fail(std::string reason) {
        throw format_error{"unpack", "zstd stream", std::move(reason)};
    }

    struct closer {
        void operator()(ZSTD_DCtx* context) const noexcept { ::ZSTD_freeDCtx(context); }
    };
    std::unique_ptr<ZSTD_DCtx, closer> context_;
    detail::packed_input packed_;
    bool in_frame_ = false;
};

/// The codec. Levels are libzstd's own; 0 is its default, 3.
struct zstd {
    static constexpr std::string_view name = "zstd", encoding = "zstd";

    int level = 0;

    [[nodiscard]] static constexpr level_range levels() { return {0, 22}; }
    /// Throws option_error for a level out of range.
    [[nodiscard]] zstd_encoder encoder(executor_ref executor) const {
        detail::check_level(*this);
        return {executor, level};
    }
    [[nodiscard]] static zstd_decoder decoder() { return {}; }
    friend bool operator==(zstd const&, zstd const&) = default;
};

} // namespace shiplap

// === shiplap/codec/decode.hpp ===

// decode: from a packed layer or a tar file to plain bytes, when what it is becomes known at run time.
//
// decode_as is for layers: their media type says how they are packed, and the bytes must agree. decode_any is
// for files that users give: the bytes alone decide. What does not fit is refused before the first plain
// byte.

namespace shiplap {

namespace detail {

/// A source whose first bytes were read already. A byte_source.
class headed_source {
  public:
    /// Reads up to 16 bytes ahead: enough for every magic number here.
    explicit headed_source(any_byte_source rest) : rest_{std::move(rest)} { head_.fill(rest_, 16); }

    /// The bytes ahead; fewer than 16 only if there are no more.
    [[nodiscard]] bytes_view head() const noexcept { return head_.bytes(); }

    std::size_t read(bytes_span into) {
        if (head_.bytes().empty()) return rest_.read(into);
        auto const piece = head_.bytes().first(std::min(into.size(), head_.bytes().size()));
        std::copy(piece.begin(), piece.end(), into.begin());
        head_.consume(piece.size());
        return piece.size();
    }

  private:
    packed_input head_;
    any_byte_source rest_;
};

/// What a packed file is, if shiplap has no decoder for it.
inline std::string_view foreign_format(bytes_view head) {
    auto const text = as_text(head);
    if (text.starts_with(std::string_view{"\xfd"
                                          "7zXZ\0",
                                          6}))
        return "xz";
    // "BZh1" could begin a file name, what follows in bzip2 could not: the first block's or the end's mark.
    if (text.starts_with("BZh") && (text.substr(4, 6) == "1AY&SY" || text.substr(4, 6) == "\x17rE8P\x90"))
        return "bzip2";
    return {};
}

inline any_byte_source decode_headed(std::string_view encoding, headed_source from) {
    if (encoding == "gzip") return decoded_source{gzip_decoder{}, std::move(from)};
    if (encoding == "zstd") return decoded_source{zstd_decoder{}, std::move(from)};
    return from;
}

} // namespace detail

/// How the bytes that start so are packed: "gzip", "zstd", or "" for anything else. 4 bytes suffice.
inline std::string_view sniff_encoding(bytes_view head) {
    if (as_text(head).starts_with("\x1f\x8b\x08")) return "gzip";
    if (detail::is_zstd_frame(head)) return "zstd";
    return "";
}

/// The plain bytes of a layer whose media type says `encoding`: "", "gzip" or "zstd". Throws format_error if
/// the bytes are packed otherwise, error{unsupported} for another encoding.
inline any_byte_source decode_as(std::string_view encoding, any_byte_source in) {
    if (encoding != "" && encoding != "gzip" && encoding != "zstd")
        throw error{error_code::unsupported, "unpack", std::string{encoding},
                    "no such encoding of layers is known; there are gzip and zstd"};
    detail::headed_source from{std::move(in)};
    auto const actual = sniff_encoding(from.head());
    if (actual != encoding) {
        auto const called = [](std::string_view name) {
            return std::string{name.empty() ? "not packed" : name};
        };
        throw format_error{"unpack", "layer",
                           "its media type says " + called(encoding) + ", its bytes are " +
                               (actual.empty() ? "neither gzip nor zstd" : called(actual))};
    }
    return detail::decode_headed(encoding, std::move(from));
}

/// The plain bytes of a file that may be packed with gzip or zstd; anything else passes as it is. Throws
/// error{unsupported} for xz and bzip2.
inline any_byte_source decode_any(any_byte_source in) {
    detail::headed_source from{std::move(in)};
    if (auto const foreign = detail::foreign_format(from.head()); !foreign.empty())
        throw error{error_code::unsupported, "unpack", std::string{foreign},
                    "a tar may be plain or packed with gzip or zstd"};
    auto const encoding = sniff_encoding(from.head());
    return detail::decode_headed(encoding, std::move(from));
}

} // namespace shiplap

// === shiplap/codec/estargz_footer.hpp ===

// The last 51 bytes of an eStargz blob: an empty gzip member whose extra field holds the offset of the member
// with the table of contents (stargz-snapshotter, docs/estargz.md, "Footer"); and the name of the only file in
// that member. No other library than the standard one.

namespace shiplap {

/// The tar entry that holds the table of contents.
inline constexpr std::string_view estargz_toc_name = "stargz.index.json";

/// Size of the footer in bytes.
inline constexpr std::size_t estargz_footer_size = 51;
/// Of one of stargz.
inline constexpr std::size_t stargz_footer_size = 47;

/// The footer of a blob whose table of contents is at this offset.
inline std::string estargz_footer(std::uint64_t toc_offset) {
    static constexpr char hex[] = "0123456789abcdef";
    std::string out{"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0", 16};
    for (unsigned shift = 64; shift != 0; shift -= 4) out += hex[toc_offset >> (shift - 4) & 15];
    out += "STARGZ";
    out.append("\x01\0\0\xff\xff\0\0\0\0\0\0\0\0", 13); // an empty stored block; CRC and size are 0
    return out;
}

/// The same as stargz had it, before there was eStargz: the extra field has no subfield.
inline std::string stargz_footer(std::uint64_t toc_offset) {
    return estargz_footer(toc_offset).replace(10, 6, std::string_view{"\x16\0", 2});
}

/// The footer of a blob whose table of contents is kept elsewhere.
inline std::string external_toc_footer() {
    return estargz_footer(0).replace(10, 28, std::string_view{"\x15\0SG\x11\0STARGZEXTERNALTOC", 23});
}

/// The offset that a footer tells, one of stargz as well; nothing if these are not the last bytes of such a
/// blob, 51 or 47.
inline std::optional<std::uint64_t> estargz_toc_offset(bytes_view footer) {
    auto const text = as_text(footer);
    bool const is_old = text.size() == stargz_footer_size;
    if (!is_old && text.size() != estargz_footer_size) return {};
    auto const digits = text.substr(is_old ? 12 : 16, 16);
    std::uint64_t offset = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), offset, 16).ec != std::errc{})
        return {};
    if (text != (is_old ? stargz_footer(offset) : estargz_footer(offset))) return {};
    return offset;
}

} // namespace shiplap

// === shiplap/digest/concept.hpp ===

// digest: what names content. An algorithm is a type with a name, a size and a hasher; a digest is a checked value.
//
//   concept            expression             meaning
//   hasher             h.update(in)           takes more bytes
//                      h.finish() -> string   the raw hash of all bytes so far; the hasher is spent
//                      copying                a copy goes on from the bytes so far
//   digest_algorithm   D::name                as in "sha256:..." (image-spec, descriptor.md, "Registered algorithms")
//                      D::size                bytes of a raw hash
//                      typename D::hasher     default constructible
//
// Exemplar, compiled in tests/digest/concept.cpp:
//
//     struct my_hash {
//         static constexpr std::string_view name = "sha256";
//         static constexpr std::size_t size = 32;
//         struct hasher {
//             void update(bytes_view in);
//             std::string finish();
//         };
//     };
//
// Models: sha256, sha512.

namespace shiplap {

template <class H>
concept hasher = std::default_initializable<H> && std::copyable<H> && requires(H& h, bytes_view in) {
    h.update(in);
    { h.finish() } -> std::same_as<std::string>;
};

template <class D>
concept named_algorithm = requires {
    { D::name } -> std::convertible_to<std::string_view>;
    { D::size } -> std::convertible_to<std::size_t>;
};

template <class D>
using hasher_of = typename D::hasher;

/// A digest algorithm: see the table above.
template <class D>
concept digest_algorithm = named_algorithm<D> && hasher<hasher_of<D>>;

} // namespace shiplap

// === shiplap/digest/sha2.hpp ===

// SHA-256 and SHA-512, computed by Crypto++ (which uses the processor's SHA instructions where there are
// any). image-spec, descriptor.md: sha256 MUST be supported by every reader, sha512 MAY.

namespace shiplap {

namespace detail {

template <class Engine>
class cryptopp_hasher {
  public:
    void update(bytes_view in) {
        engine_.Update(reinterpret_cast<CryptoPP::byte const*>(in.data()), in.size());
    }
    std::string finish() {
        std::string raw(Engine::DIGESTSIZE, '\0');
        engine_.Final(reinterpret_cast<CryptoPP::byte*>(raw.data()));
        return raw;
    }

  private:
    Engine engine_;
};

} // namespace detail

struct sha256 {
    static constexpr std::string_view name = "sha256";
    static constexpr std::size_t size = 32;
    using hasher = detail::cryptopp_hasher<CryptoPP::SHA256>;
};

struct sha512 {
    static constexpr std::string_view name = "sha512";
    static constexpr std::size_t size = 64;
    using hasher = detail::cryptopp_hasher<CryptoPP::SHA512>;
};

} // namespace shiplap

// === shiplap/digest/digest.hpp ===

// digest: "algorithm:hex" as a value that cannot hold junk.
//
// image-spec, descriptor.md, "Digests": only the registered algorithms sha256 and sha512 are accepted, with
// exactly their number of lower-case hex digits. Digests become file names and URLs; a checked type is what
// keeps "../" out.

namespace shiplap {

namespace detail {

/// Two lower-case hex digits for each byte.
inline void append_hex(std::string& to, std::string_view raw) {
    static constexpr char digits[] = "0123456789abcdef";
    for (char const c : raw) {
        auto const byte = static_cast<unsigned char>(c);
        to += digits[byte >> 4];
        to += digits[byte & 15];
    }
}

} // namespace detail

class digest {
  public:
    /// Checks `text` against the grammar; throws format_error.
    static digest parse(std::string_view text) {
        auto const colon = text.find(':');
        auto const algorithm = text.substr(0, colon);
        std::size_t const digits = algorithm == sha256::name   ? 2 * sha256::size
                                   : algorithm == sha512::name ? 2 * sha512::size
                                                               : 0;
        if (colon == std::string_view::npos || digits == 0)
            throw format_error{"parse digest", std::string{text},
                               "must be sha256:<64 hex digits> or sha512:<128 hex digits>"};
        auto const encoded = text.substr(colon + 1);
        if (encoded.size() != digits ||
            encoded.find_first_not_of("0123456789abcdef") != std::string_view::npos)
            throw format_error{"parse digest", std::string{text},
                               "needs exactly " + std::to_string(digits) +
                                   " lower-case hex digits after the colon"};
        return digest{std::string{text}};
    }

    /// Names a raw hash of algorithm D.
    template <digest_algorithm D>
    static digest from_raw(std::string_view raw) {
        std::string text{D::name};
        text += ':';
        detail::append_hex(text, raw);
        return parse(text);
    }

    /// The digest of some bytes.
    template <digest_algorithm D>
    static digest of(bytes_view bytes) {
        typename D::hasher hasher;
        hasher.update(bytes);
        return from_raw<D>(hasher.finish());
    }

    /// "sha256" or "sha512".
    [[nodiscard]] std::string_view algorithm() const noexcept { return std::string_view{text_}.substr(0, 6); }
    /// The hex digits.
    [[nodiscard]] std::string_view encoded() const noexcept { return std::string_view{text_}.substr(7); }
    /// The whole, "sha256:...".
    [[nodiscard]] std::string const& text() const noexcept { return text_; }

    friend bool operator==(digest const&, digest const&) = default;
    friend auto operator<=>(digest const&, digest const&) = default;

  private:
    explicit digest(std::string text) : text_{std::move(text)} {}
    std::string text_;
};

/// Hashes with the algorithm of a digest that is known at run time only.
class digest_hasher {
  public:
    explicit digest_hasher(digest const& like) : is_sha512_{like.algorithm() == sha512::name} {}

    void update(bytes_view in) {
        if (is_sha512_)
            sha512_.update(in);
        else
            sha256_.update(in);
    }

    /// The digest of all bytes so far; the hasher is spent.
    [[nodiscard]] digest finish() {
        return is_sha512_ ? digest::from_raw<sha512>(sha512_.finish())
                          : digest::from_raw<sha256>(sha256_.finish());
    }

  private:
    bool is_sha512_;
    sha256::hasher sha256_; // one of the two is used
    sha512::hasher sha512_;
};

/// Checks that bytes are those that a digest and a size promise, whatever the algorithm. A byte_sink.
class digest_verifier {
  public:
    digest_verifier(digest expected, std::uint64_t size)
        : expected_{std::move(expected)}, size_{size}, hasher_{expected_} {}

    /// Throws digest_mismatch as soon as there are more bytes than promised.
    void write(bytes_view in) {
        seen_ += in.size();
        if (seen_ > size_)
            throw digest_mismatch{"verify", expected_.text(),
                                  "content is longer than the " + std::to_string(size_) +
                                      " bytes of its descriptor"};
        hasher_.update(in);
    }

    /// Throws digest_mismatch unless size and digest are as promised. Call once, after the last byte.
    void finish() {
        if (seen_ != size_)
            throw digest_mismatch{"verify", expected_.text(),
                                  "content has " + std::to_string(seen_) + " bytes, its descriptor says " +
                                      std::to_string(size_)};
        auto const actual = hasher_.finish();
        if (actual != expected_)
            throw digest_mismatch{"verify", expected_.text(), "content has digest " + actual.text()};
    }

  private:
    digest expected_;
    std::uint64_t size_, seen_ = 0;
    digest_hasher hasher_;
};

/// Throws digest_mismatch unless `bytes` have this digest.
inline void verify(bytes_view bytes, digest const& expected) {
    digest_verifier check{expected, bytes.size()};
    check.write(bytes);
    check.finish();
}

} // namespace shiplap

// === shiplap/tar/entry.hpp ===

// One entry of a tar archive: what ustar and PAX headers say, as values (POSIX.1-2017, pax, "ustar
// Interchange Format" and "pax Extended Header"; image-spec, layer.md).

namespace shiplap {

/// A point in time: seconds since 1970 (may be negative) plus 0..999'999'999 nanoseconds, which always count
/// forward.
struct timestamp {
    std::int64_t seconds = 0;
    std::int32_t nanoseconds = 0;
    friend auto operator<=>(timestamp const&, timestamp const&) = default;
};

/// The typeflag of a header; the values are those on disk.
enum class entry_type : char {
    regular = '0',
    hard_link = '1',
    symbolic_link = '2',
    character_device = '3',
    block_device = '4',
    directory = '5',
    fifo = '6',
};

/// An extended attribute; the value is raw bytes.
struct extended_attribute {
    std::string name{};
    std::string value{};
    friend auto operator<=>(extended_attribute const&, extended_attribute const&) = default;
};

/// Everything about an entry but its payload. Names are raw bytes without an encoding.
struct tar_entry {
    std::string name{}; ///< relative path; a directory's ends in '/'
    entry_type type = entry_type::regular;
    std::uint32_t mode = 0; ///< permission, set-id and sticky bits: 0..07777
    std::uint64_t uid = 0, gid = 0;
    std::uint64_t size = 0; ///< bytes of payload; 0 for all but regular files
    timestamp mtime{};
    /// Target of a symbolic link, verbatim, or of a hard link: the name of an earlier entry.
    std::string link_name{};
    std::uint32_t device_major = 0, device_minor = 0;
    std::string user_name{}, group_name{};    ///< not written for images: ids are numbers there
    std::vector<extended_attribute> xattrs{}; ///< sorted by name
    friend bool operator==(tar_entry const&, tar_entry const&) = default;
};

} // namespace shiplap

// === shiplap/codec/estargz_json.hpp ===

// The JSON of an eStargz table of contents, to the letter as Go's json.MarshalIndent writes the reference's
// structs: one TAB a level, zero values left out, <, > and & escaped.

namespace shiplap::detail {

/// Whether Go's encoding/json takes these characters as they are. So it is with nearly every name.
inline bool stands_for_itself(std::string_view text) noexcept {
    return std::all_of(text.begin(), text.end(), [](char c) {
        auto const byte = static_cast<unsigned char>(c);
        return byte >= 0x20 && byte < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
    });
}

/// `text` as a string of JSON with the escapes of Go's encoding/json. Throws nlohmann::json::type_error
/// unless it is UTF-8.
inline std::string go_json_string(std::string_view text) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 5> further{
        {{"<", "\\u003c"}, {">", "\\u003e"}, {"&", "\\u0026"}, {"\u2028", "\\u2028"}, {"\u2029", "\\u2029"}}};
    using json = nlohmann::ordered_json; // the one whose writer image/json.hpp instantiates as well
    json value(json::value_t::string);
    *value.get_ptr<json::string_t*>() = text;
    auto out = value.dump();
    for (auto const& [plain, escaped] : further)
        for (auto at = out.find(plain); at != std::string::npos; at = out.find(plain, at + escaped.size()))
            out.replace(at, plain.size(), escaped);
    return out;
}

/// RFC 4648 with padding. (That of Crypto++ is a pipeline of filters: its header costs more than all of this.)
inline std::string base64_of(std::string_view raw) {
    static constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (; !raw.empty(); raw.remove_prefix(std::min<std::size_t>(3, raw.size()))) {
        std::uint32_t bits = 0; // three bytes, those behind the end as zeros
        for (std::size_t i = 0; i < 3; ++i)
            bits = bits << 8 | (i < raw.size() ? static_cast<unsigned char>(raw[i]) : 0u);
        for (std::size_t i = 0; i < 4; ++i)
            out += i <= raw.size() ? alphabet[bits >> (18 - 6 * i) & 63] : '=';
    }
    return out;
}

/// RFC 3339 in UTC, rounded to seconds. Empty for any time within second 0 of 1970, as in the reference, and
/// for years that have no name. Not by gmtime(), which counts leap seconds if TZ is one of the "right" zones.
inline std::string toc_time(timestamp time) {
    constexpr std::int64_t year_zero = -62167219200, last = 67768036191676799; // what gmtime() can name
    if (time.seconds == 0 || time.seconds < year_zero || time.seconds >= last) return {};
    auto const seconds = time.seconds + (time.nanoseconds >= 500'000'000 ? 1 : 0);
    // The calendar repeats every 400 years; std::chrono knows no year above 32767.
    constexpr std::int64_t cycle = 146097; // days
    auto const days = (seconds - year_zero) / 86400, second = (seconds - year_zero) % 86400;
    std::chrono::year_month_day const date{
        std::chrono::sys_days{std::chrono::days{year_zero / 86400 + days % cycle}}};
    auto const padded = [](std::int64_t value, std::size_t width) {
        auto const text = std::to_string(value);
        return std::string(width - std::min(width, text.size()), '0') + text;
    };
    return padded(static_cast<int>(date.year()) + days / cycle * 400, 4) + '-' +
           padded(static_cast<unsigned>(date.month()), 2) + '-' +
           padded(static_cast<unsigned>(date.day()), 2) + 'T' + padded(second / 3600, 2) + ':' +
           padded(second / 60 % 60, 2) + ':' + padded(second % 60, 2) + 'Z';
}

inline std::string_view toc_type(entry_type type) noexcept {
    switch (type) {
    case entry_type::regular:
        return "reg";
    case entry_type::hard_link:
        return "hardlink";
    case entry_type::symbolic_link:
        return "symlink";
    case entry_type::character_device:
        return "char";
    case entry_type::block_device:
        return "block";
    case entry_type::directory:
        return "dir";
    case entry_type::fifo:
        return "fifo";
    }
    return {};
}

/// Appends one object of "entries" to a text. Texts and numbers that are empty or zero are left out.
class toc_object {
  public:
    explicit toc_object(std::string& to) : to_{&to} { *to_ += "\n\t\t{"; }

    void text(std::string_view key, std::string_view value) {
        if (value.empty()) return;
        begin(key);
        if (stands_for_itself(value))
            quote(value);
        else
            *to_ += go_json_string(value);
    }
    void number(std::string_view key, std::uint64_t value) {
        if (value == 0) return;
        begin(key);
        *to_ += std::to_string(value);
    }
    void digest_of(std::string_view key, std::array<char, sha256::size> const& raw) {
        begin(key);
        to_->append("\"").append(sha256::name).append(":");
        append_hex(*to_, {raw.data(), raw.size()});
        *to_ += '"';
    }
    void xattrs(std::vector<extended_attribute> const& attributes) {
        if (attributes.empty()) return;
        begin("xattrs");
        std::string_view separator{"{"};
        for (auto const& [name, value] : attributes) {
            to_->append(std::exchange(separator, ",")).append("\n\t\t\t\t");
            to_->append(go_json_string(name)).append(": ");
            quote(base64_of(value));
        }
        *to_ += "\n\t\t\t}";
    }

    void finish() { *to_ += "\n\t\t}"; }

  private:
    void begin(std::string_view key) {
        *to_ += to_->back() == '{' ? "\n\t\t\t" : ",\n\t\t\t";
        quote(key);
        *to_ += ": ";
    }
    void quote(std::string_view plain) { to_->append("\"").append(plain).append("\""); }

    std::string* to_;
};

} // namespace shiplap::detail

// === shiplap/codec/estargz_toc.hpp ===

// The table of contents of an eStargz layer (stargz-snapshotter, docs/estargz.md, "TOC and TOCEntry").
//
// Entries are kept in binary form, about 200 bytes each beside their names, and the JSON, which is several
// times as long, is rendered anew each time that it is needed.

namespace shiplap {

/// Collects what a layer's tar contains and where in the blob it is, then renders it.
class estargz_toc {
  public:
    /// Content is cut into chunks of so many bytes; the last one of a file may be shorter.
    static constexpr std::uint64_t chunk_size = 4 * 1024 * 1024;

    [[nodiscard]] static constexpr std::uint64_t chunks_of(std::uint64_t size) noexcept {
        return size / chunk_size + (size % chunk_size != 0 ? 1 : 0);
    }

    /// The next entry of the tar. Throws error{unsupported} if a name is not UTF-8: JSON cannot hold it, and
    /// who reads by the table of contents would see another name.
    void add_entry(tar_entry const& entry) {
        demand_utf8(entry);
        bool const device =
            entry.type == entry_type::character_device || entry.type == entry_type::block_device;
        rare_facts rare{if_changed(users_, entry.uid, entry.user_name),
                        if_changed(groups_, entry.gid, entry.group_name), device ? entry.device_major : 0,
                        device ? entry.device_minor : 0, entry.xattrs};
        bool const plain = !device && rare.user.empty() && rare.group.empty() && rare.xattrs.empty();
        entries_.push_back({entry.name, entry.link_name, entry.size, entry.mtime, entry.uid, entry.gid,
                            plain ? nullptr : std::make_unique<rare_facts>(std::move(rare)), entry.mode,
                            entry.type});
    }

    /// The next chunk of content: the offset of its member in the blob, and its raw SHA-256. Each regular
    /// file has chunks_of(size), in the order of the tar.
    void add_chunk(std::uint64_t offset, std::string_view raw) { chunks_.push_back({offset, fixed(raw)}); }

    /// The raw SHA-256 of the next file that has more than one chunk.
    void add_file_digest(std::string_view raw) { file_digests_.push_back(fixed(raw)); }

    /// Writes the JSON text.
    template <byte_sink Out>
    void render(Out& out) const {
        auto chunk = chunks_.begin();
        auto file_digest = file_digests_.begin();
        auto const empty = fixed(sha256::hasher{}.finish());
        std::string text{"{\n\t\"version\": 1,\n\t\"entries\": ["};
        std::string_view separator;
        auto const next = [&] {
            if (text.size() >= transfer_size) {
                out.write(as_bytes(text));
                text.clear();
            }
            text += std::exchange(separator, ",");
        };
        for (auto const& entry : entries_) {
            next();
            auto const chunks = chunks_of(entry.size);
            auto object = describe(entry, chunks != 0 ? chunk->offset : 0, text);
            if (entry.type == entry_type::regular)
                object.digest_of("digest", chunks == 0   ? empty
                                           : chunks == 1 ? chunk->digest
                                                         : *file_digest++);
            for (std::uint64_t i = 0; i < chunks; ++i) {
                auto const at = i * chunk_size;
                object.number("chunkOffset", at);
                // Without a size a chunk reaches to the end of the file; the reference leaves it out only of
                // short ones.
                object.number("chunkSize", entry.size - at >= chunk_size ? chunk_size : 0);
                object.digest_of("chunkDigest", chunk->digest);
                ++chunk;
                if (i + 1 == chunks) break;
                object.finish();
                next();
                object = further_chunk(entry, chunk->offset, text);
            }
            object.finish();
        }
        text += entries_.empty() ? "]\n}" : "\n\t]\n}";
        out.write(as_bytes(text));
    }

  private:
    using raw_digest = std::array<char, sha256::size>;

    /// What few entries have.
    struct rare_facts {
        std::string user, group;
        std::uint32_t device_major, device_minor;
        std::vector<extended_attribute> xattrs;
    };

    struct entry_facts {
        std::string name, link_name;
        std::uint64_t size;
        timestamp mtime;
        std::uint64_t uid, gid;
        std::unique_ptr<rare_facts> rare;
        std::uint32_t mode;
        entry_type type;
    };

    struct chunk_facts {
        std::uint64_t offset;
        raw_digest digest;
    };

    using names_by_id = std::map<std::uint64_t, std::string>;

    static raw_digest fixed(std::string_view raw) {
        raw_digest out{};
        std::copy_n(raw.begin(), out.size(), out.begin());
        return out;
    }

    /// A name is told once for each id, and again when it is another one.
    static std::string if_changed(names_by_id& known, std::uint64_t id, std::string const& name) {
        if (name.empty() || known[id] == name) return {};
        return known[id] = name;
    }

    static void demand_utf8(tar_entry const& entry) {
        auto const check = [&](std::string_view text, char const* what) {
            try {
                if (!detail::stands_for_itself(text)) detail::go_json_string(text);
            } catch (nlohmann::json::type_error const&) {
                throw error{error_code::unsupported, "pack as estargz", entry.name,
                            std::string{what} +
                                " is not UTF-8, which its table of contents demands; gzip and zstd "
                                "take any name"};
            }
        };
        check(entry.name, "the name");
        check(entry.link_name, "the link target");
        check(entry.user_name, "the user name");
        check(entry.group_name, "the group name");
        for (auto const& attribute : entry.xattrs) check(attribute.name, "the name of an extended attribute");
    }

    static detail::toc_object describe(entry_facts const& entry, std::uint64_t offset, std::string& to) {
        detail::toc_object object{to};
        object.text("name", entry.name);
        object.text("type", detail::toc_type(entry.type));
        object.number("size", entry.size);
        object.text("modtime", detail::toc_time(entry.mtime));
        object.text("linkName", entry.link_name);
        object.number("mode", entry.mode);
        object.number("uid", entry.uid);
        object.number("gid", entry.gid);
        if (entry.rare) {
            object.text("userName", entry.rare->user);
            object.text("groupName", entry.rare->group);
        }
        object.number("offset", offset);
        if (entry.rare) {
            object.number("devMajor", entry.rare->device_major);
            object.number("devMinor", entry.rare->device_minor);
            object.xattrs(entry.rare->xattrs);
        }
        return object;
    }

    static detail::toc_object further_chunk(entry_facts const& entry, std::uint64_t offset, std::string& to) {
        detail::toc_object object{to};
        object.text("name", entry.name);
        object.text("type", "chunk");
        object.number("offset", offset);
        return object;
    }

    // Deques grow without a copy of all that is there.
    std::deque<entry_facts> entries_;
    std::deque<chunk_facts> chunks_;
    std::deque<raw_digest> file_digests_;
    names_by_id users_, groups_;
};

} // namespace shiplap

// === shiplap/codec/gzip_member.hpp ===

// The gzip member (RFC 1952, section 2.3) and the block of work that makes several of them.
//
// A member is always written alike: no name, modification time 0, operating system 255 (unknown), so that its
// bytes depend on content, backend and level alone. Members stand one behind the other without a seam (section 2.2).
//
// A header may tell how long the deflate stream behind it is, in an extra field (section 2.3.1.1) that MiGz has, too:
// "MZ" and four bytes. So a reader can find all members without inflating them, and then inflate them in parallel.

namespace shiplap::detail {

inline std::string little_endian_32(std::uint32_t value) {
    std::string out;
    for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 0xff);
    return out;
}

/// The ten bytes in front of the deflate stream. `flags` is FLG, 4 announcing an extra field.
inline std::string gzip_header(int level, char flags = 0) {
    // XFL: what compress/gzip of Go and zlib write, 2 for the smallest and 4 for the fastest level.
    char const effort = level >= 9 ? '\2' : level == 1 ? '\4' : '\0';
    return {'\x1f', '\x8b', 8, flags, 0, 0, 0, 0, effort, '\xff'};
}

/// The same with room for the size of the deflate stream.
inline std::string sized_gzip_header(int level) {
    return gzip_header(level, 4).append("\x08\0MZ\x04\0\0\0\0\0", 10);
}
inline constexpr std::size_t largest_gzip_header = 20, gzip_trailer_size = 8;

/// Enters that size in a member that begins with sized_gzip_header().
inline void put_packed_size(bytes_span member, std::size_t size) {
    auto const text = little_endian_32(static_cast<std::uint32_t>(size));
    std::memcpy(member.data() + largest_gzip_header - text.size(), text.data(), text.size());
}

/// The eight bytes behind it: CRC-32 and size (modulo 2^32) of the plain bytes.
inline std::string gzip_trailer(std::uint32_t crc, std::uint64_t size) {
    return little_endian_32(crc) + little_endian_32(static_cast<std::uint32_t>(size));
}

/// One member of a block. The encoder sets the first two, run() the others.
struct gzip_member {
    std::size_t plain_size = 0;
    std::size_t hashed_size = 0; ///< so many of its plain bytes, from the first, get a digest; 0: none
    std::size_t packed_size = 0;
    std::string digest = {}; ///< raw SHA-256
};

/// What all blocks of one encoder have in common.
template <deflate_backend Backend>
struct gzip_workshop {
    gzip_workshop(Backend const& backend, int level_of_all, bool tell_sizes)
        : level{level_of_all}, tells_sizes{tell_sizes}, compressors{{backend, level_of_all}} {}

    struct maker {
        Backend backend;
        int level;
        [[nodiscard]] auto operator()() const { return backend.compressor(level); }
    };
    int level;
    bool tells_sizes; ///< in the headers of the members
    compressor_pool<maker> compressors;
};

/// Plain bytes that become one member or more. A packing_block.
template <deflate_backend Backend>
class gzip_block {
  public:
    explicit gzip_block(std::shared_ptr<gzip_workshop<Backend>> shared) : shared_{std::move(shared)} {}

    std::string plain;                ///< all members' bytes, in order
    std::vector<gzip_member> members; ///< their plain sizes add up to plain.size()
    packed_bytes packed;              ///< set by run()

    void prepare() {
        packed.reset(shared_->compressors.lend([this](auto const& compressor) {
            std::size_t most = 0;
            for (auto const& member : members)
                most += compressor.bound(member.plain_size) + largest_gzip_header + gzip_trailer_size;
            return most;
        }));
    }

    void run() {
        shared_->compressors.lend([this](auto& compressor) {
            auto rest = as_bytes(plain);
            for (auto& member : members) {
                auto const content = rest.first(member.plain_size);
                rest = rest.subspan(member.plain_size);
                if (member.hashed_size != 0) hash(member, content);
                pack(compressor, member, content);
            }
            return 0;
        });
    }

    /// Memory for plain and packed bytes.
    [[nodiscard]] std::size_t weight() const noexcept { return 2 * plain.size(); }

    void reuse() {
        plain.clear();
        members.clear();
    }
    [[nodiscard]] gzip_block another() const { return gzip_block{shared_}; }

  private:
    static void hash(gzip_member& member, bytes_view content) {
        sha256::hasher hasher;
        hasher.update(content.first(member.hashed_size));
        member.digest = hasher.finish();
    }

    void pack(auto& compressor, gzip_member& member, bytes_view content) {
        auto const start = packed.size();
        auto const header =
            shared_->tells_sizes ? sized_gzip_header(shared_->level) : gzip_header(shared_->level);
        packed.add(as_bytes(header));
        auto const size = compressor.compress(content, packed.room());
        packed.add(size);
        packed.add(as_bytes(gzip_trailer(checksum(compressor, content), content.size())));
        if (shared_->tells_sizes) put_packed_size(packed.bytes().subspan(start), size);
        member.packed_size = packed.size() - start;
    }

    std::shared_ptr<gzip_workshop<Backend>> shared_;
};

template <deflate_backend Backend>
using gzip_writer = block_writer<gzip_block<Backend>>;

/// A writer of gzip members.
template <deflate_backend Backend>
gzip_writer<Backend> make_gzip_writer(executor_ref executor, Backend const& backend, int level,
                                      bool tell_sizes) {
    return {executor,
            gzip_block<Backend>{std::make_shared<gzip_workshop<Backend>>(backend, level, tell_sizes)}};
}

} // namespace shiplap::detail

// === shiplap/codec/long_gzip_member.hpp ===

// long_gzip_member: a byte_sink that packs all it gets into one gzip member, however long it turns out, and on all workers.
// For what readers expect in one member; what may be cut into several is the affair of gzip_member.hpp.
//
// The deflate stream is made in parts that know nothing of each other: each but the last ends with an empty stored block
// (RFC 1951, section 3.2.4), so on a byte boundary, and the next one stands behind it as if one compressor had made both.
// Always zlib, at its nearest level: a deflate_backend makes whole streams.

namespace shiplap::detail {

/// A part of a deflate stream. A packing_block.
class deflate_part {
  public:
    explicit deflate_part(int level) : compressors_{std::make_shared<pool>(maker{level})} {}

    std::string plain;
    bool is_last = false;
    packed_bytes packed;   ///< set by run()
    std::uint32_t crc = 0; ///< of plain, set by run()

    void prepare() {
        packed.reset(compressors_->lend([this](auto const& one) { return one.bound_of_part(plain.size()); }));
    }
    void run() {
        crc = crc32_of(as_bytes(plain));
        packed.add(compressors_->lend(
            [this](auto& one) { return one.compress_part(as_bytes(plain), packed.room(), is_last); }));
    }
    [[nodiscard]] std::size_t weight() const noexcept { return 2 * plain.size(); }

    void reuse() { plain.clear(); }
    [[nodiscard]] deflate_part another() const { return deflate_part{compressors_}; }

  private:
    struct maker {
        int level;
        [[nodiscard]] zlib_compressor operator()() const { return zlib_backend::compressor(level); }
    };
    using pool = compressor_pool<maker>;
    explicit deflate_part(std::shared_ptr<pool> shared) : compressors_{std::move(shared)} {}

    std::shared_ptr<pool> compressors_;
};

template <byte_sink Out>
class long_gzip_member {
  public:
    long_gzip_member(Out& out, executor_ref executor, int level)
        : out_{&out}, parts_{executor, deflate_part{std::min(level, zlib_backend::levels.highest)}} {
        out.write(as_bytes(gzip_header(level)));
    }

    void write(bytes_view in) {
        while (!in.empty()) {
            auto& plain = parts_.block().plain;
            if (plain.size() == part_size) {
                post();
                continue;
            }
            plain.reserve(part_size);
            auto const piece = in.first(std::min(in.size(), part_size - plain.size()));
            plain.append(as_text(piece));
            in = in.subspan(piece.size());
        }
    }

    /// Ends the member. Call once.
    void finish() {
        parts_.block().is_last = true;
        post();
        parts_.drain(emit());
        out_->write(as_bytes(gzip_trailer(crc_, size_)));
    }

    /// After finish(): its plain bytes.
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  private:
    static constexpr std::size_t part_size = 256 * 1024; // smaller ones cost more than 0.5 % in size

    void post() { parts_.post(emit()); }

    auto emit() {
        return [this](deflate_part const& part) {
            out_->write(part.packed.bytes());
            crc_ = joined_crc32(crc_, part.crc, part.plain.size());
            size_ += part.plain.size();
        };
    }

    Out* out_;
    block_writer<deflate_part> parts_;
    std::uint32_t crc_ = 0;
    std::uint64_t size_ = 0;
};

} // namespace shiplap::detail

// === shiplap/tar/header.hpp ===

// The 512-byte block in front of every tar entry: where its fields lie, how they hold text and numbers, its
// checksum. Layout: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar's base-256 numbers beside it.
//
// Writing follows Go's archive/tar to the letter, so that layers get the digests that the image builders
// give. Reading is strict: a field holds a number in one way or it is refused, because two readers that
// guess differently see different archives.

namespace shiplap {

/// Everything in a tar is a multiple of this.
inline constexpr std::size_t tar_block_size = 512;

/// Zero bytes that follow a payload of `size` bytes: 0..511.
constexpr std::size_t tar_padding(std::uint64_t size) noexcept {
    return (tar_block_size - size % tar_block_size) % tar_block_size;
}

namespace detail {

struct tar_field {
    std::size_t offset, size;
};

namespace tar_fields {
inline constexpr tar_field name{0, 100}, mode{100, 8}, uid{108, 8}, gid{116, 8}, size{124, 12},
    mtime{136, 12}, checksum{148, 8}, type{156, 1}, link_name{157, 100}, magic{257, 6}, version{263, 2},
    user_name{265, 32}, group_name{297, 32}, device_major{329, 8}, device_minor{337, 8}, prefix{345, 155};
inline constexpr tar_field star_prefix{345, 131}, star_trailer{508, 4};
inline constexpr tar_field star_atime{476, 12}, star_ctime{488, 12}, gnu_atime{345, 12}, gnu_ctime{357, 12};
} // namespace tar_fields

/// Can an octal field hold this number? One byte is for the NUL behind the digits.
constexpr bool fits_octal(tar_field field, std::uint64_t number) noexcept {
    return number >> 3 * (field.size - 1) == 0;
}

/// Who wrote a header, as far as its fields differ.
enum class tar_dialect { v7, ustar, star, gnu };

class tar_block {
  public:
    // Writing -------------------------------------------------------------------------------------------

    /// Text, cut at the field's end, NUL-terminated where there is room. A cut that ends in '/' ends before
    /// it: some readers take such a name for a directory's.
    constexpr void put(tar_field field, std::string_view text) noexcept {
        auto const kept = text.substr(0, field.size);
        std::copy(kept.begin(), kept.end(), at(field));
        if (text.size() <= field.size || kept.back() != '/') return;
        auto const last = text.substr(0, field.size - 1).find_last_not_of('/');
        at(field)[last == std::string_view::npos ? 0 : last + 1] = '\0';
    }

    /// Zero-filled octal, NUL-terminated; a number that does not fit is written as 0 (its true value is then
    /// in an extended header).
    constexpr void put_octal(tar_field field, std::uint64_t number) noexcept {
        if (!fits_octal(field, number)) number = 0;
        at(field)[field.size - 1] = '\0';
        for (auto i = field.size - 1; i-- > 0; number >>= 3)
            at(field)[i] = static_cast<char>('0' + (number & 7));
    }

    /// Octal where it fits, else GNU's base-256: for numbers that have no extended header.
    constexpr void put_number(tar_field field, std::uint64_t number) noexcept {
        if (fits_octal(field, number)) return put_octal(field, number);
        for (auto i = field.size; i-- > 0; number >>= 8) at(field)[i] = static_cast<char>(number & 0xff);
        at(field)[0] = static_cast<char>(at(field)[0] | '\x80');
    }

    /// The same for numbers that may be negative, which octal has none of.
    constexpr void put_signed(tar_field field, std::int64_t number) noexcept {
        if (number >= 0) return put_number(field, static_cast<std::uint64_t>(number));
        for (auto i = field.size; i-- > 0; number >>= 8) at(field)[i] = static_cast<char>(number & 0xff);
    }

    /// Computes the checksum. The last step.
    constexpr void put_checksum() noexcept {
        put_octal({tar_fields::checksum.offset, 7}, checksums().as_unsigned);
        at(tar_fields::checksum)[7] = ' ';
    }

    /// Marks the block as POSIX ustar and computes its checksum. The last step.
    constexpr void seal() noexcept {
        put(tar_fields::magic, {"ustar\0", 6});
        put(tar_fields::version, "00");
        put_checksum();
    }

    // Reading -------------------------------------------------------------------------------------------

    /// The field up to its first NUL.
    [[nodiscard]] constexpr std::string_view text(tar_field field) const noexcept {
        auto const all = raw(field);
        return all.substr(0, all.find('\0'));
    }

    /// All bytes of the block.
    [[nodiscard]] constexpr std::string_view all() const noexcept { return {bytes.data(), bytes.size()}; }

    /// All bytes of a field.
    [[nodiscard]] constexpr std::string_view raw(tar_field field) const noexcept {
        return all().substr(field.offset, field.size);
    }

    /// Octal digits, with spaces before and spaces or NULs behind; or base-256 in two's complement. An empty
    /// field is 0. Nothing, if it is neither or exceeds 63 bits.
    [[nodiscard]] constexpr std::optional<std::int64_t> number(tar_field field) const noexcept {
        auto text = raw(field);
        if ((static_cast<unsigned char>(text.front()) & 0x80u) != 0) return base256(text);
        text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
        std::uint64_t value = 0;
        for (; !text.empty() && text.front() >= '0' && text.front() <= '7'; text.remove_prefix(1))
            value = value << 3 | static_cast<std::uint64_t>(text.front() - '0'); // 12 digits at most
        if (text.find_first_not_of(std::string_view{" \0", 2}) != std::string_view::npos) return {};
        return static_cast<std::int64_t>(value);
    }

    /// The stored checksum is the sum of all bytes, the checksum itself taken as spaces. Some old programs
    /// added signed bytes.
    [[nodiscard]] constexpr bool intact() const noexcept {
        auto const stored = number(tar_fields::checksum);
        auto const [as_unsigned, as_signed] = checksums();
        return stored && (*stored == static_cast<std::int64_t>(as_unsigned) || *stored == as_signed);
    }

    [[nodiscard]] constexpr bool is_zero() const noexcept {
        return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; });
    }

    [[nodiscard]] constexpr tar_dialect dialect() const noexcept {
        auto const magic = raw(tar_fields::magic);
        if (magic == "ustar " && raw(tar_fields::version) == std::string_view{" \0", 2})
            return tar_dialect::gnu;
        if (magic != std::string_view{"ustar\0", 6}) return tar_dialect::v7;
        return raw(tar_fields::star_trailer) == std::string_view{"tar\0", 4} ? tar_dialect::star
                                                                             : tar_dialect::ustar;
    }

    std::array<char, tar_block_size> bytes{};

  private:
    struct sums {
        std::uint64_t as_unsigned;
        std::int64_t as_signed;
    };

    [[nodiscard]] constexpr char* at(tar_field field) noexcept { return bytes.data() + field.offset; }

    [[nodiscard]] constexpr sums checksums() const noexcept {
        // Over all 512 bytes, then the checksum taken off: a loop that compilers turn into vector instructions.
        std::uint32_t sum = 0, negative = 0;
        for (char const c : bytes) {
            std::uint32_t const byte = static_cast<unsigned char>(c);
            sum += byte;
            negative += byte >> 7;
        }
        for (char const c : raw(tar_fields::checksum)) {
            std::uint32_t const byte = static_cast<unsigned char>(c);
            sum -= byte;
            negative -= byte >> 7;
        }
        sum += tar_fields::checksum.size * ' ';
        return {sum, static_cast<std::int64_t>(sum) - 256 * static_cast<std::int64_t>(negative)};
    }

    // Bit 7 of the first byte marks the form, bit 6 is the sign.
    [[nodiscard]] static constexpr std::optional<std::int64_t> base256(std::string_view text) noexcept {
        bool const negative = (static_cast<unsigned char>(text.front()) & 0x40u) != 0;
        std::uint64_t value = 0; // of the complement, if negative
        for (std::size_t i = 0; i < text.size(); ++i) {
            auto byte = static_cast<std::uint64_t>(static_cast<unsigned char>(text[i]));
            if (negative) byte ^= 0xffu;
            if (i == 0) byte &= 0x7fu;
            if (value >> 55 != 0) return {};
            value = value << 8 | byte;
        }
        auto const magnitude = static_cast<std::int64_t>(value);
        return negative ? -1 - magnitude : magnitude;
    }
};

} // namespace detail
} // namespace shiplap

// === shiplap/tar/pax.hpp ===

// PAX records, the body of an extended header: "<length> <key>=<value>\n", one behind the other, the length
// counting the whole record, itself included (POSIX.1-2017, pax, "pax Extended Header").
//
// Values are raw bytes. Numbers are plain decimal; times have a sign and a fraction if they need them.

namespace shiplap::detail {

/// Keys and values in byte order of the keys, which is the order they are written in.
using pax_records = std::map<std::string, std::string>;

/// Prefix of the keys that hold extended attributes; the attribute's name follows.
inline constexpr std::string_view pax_xattr = "SCHILY.xattr.";
/// Prefix of the keys by which GNU tar describes sparse files.
inline constexpr std::string_view pax_sparse = "GNU.sparse.";

inline void append_pax_record(std::string& out, std::string_view key, std::string_view value) {
    auto const rest = key.size() + value.size() + 3; // ' ', '=', '\n'
    auto size = rest + std::to_string(rest).size();
    if (std::to_string(size).size() + rest != size) ++size; // the length made itself a digit longer
    out += std::to_string(size);
    out += ' ';
    out += key;
    out += '=';
    out += value;
    out += '\n';
}

inline std::string pax_time(timestamp time) {
    if (time.nanoseconds == 0) return std::to_string(time.seconds);
    // The fraction counts away from zero here, but forward in a timestamp: -1.25 s is {-2, 750'000'000}.
    bool const negative = time.seconds < 0;
    auto const seconds = negative ? -(time.seconds + 1) : time.seconds;
    auto fraction =
        std::to_string(1'000'000'000 + (negative ? 1'000'000'000 - time.nanoseconds : time.nanoseconds));
    fraction.erase(fraction.find_last_not_of('0') + 1);
    return (negative ? "-" : "") + std::to_string(seconds) + "." + fraction.substr(1);
}

/// Decimal digits and nothing else, at most 63 bits.
inline std::optional<std::uint64_t> parse_decimal(std::string_view text) {
    std::int64_t value = 0;
    auto const [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || text.front() == '-' || failure != std::errc{} || end != text.data() + text.size())
        return {};
    return static_cast<std::uint64_t>(value);
}

/// [-]digits[.digits]; digits beyond nanoseconds are cut off.
inline std::optional<timestamp> parse_pax_time(std::string_view text) {
    bool const negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    auto const point = text.find('.');
    auto const seconds = parse_decimal(text.substr(0, point));
    if (!seconds) return {};
    auto const digits = point == std::string_view::npos ? std::string_view{} : text.substr(point + 1);
    if (digits.find_first_not_of("0123456789") != std::string_view::npos) return {};
    std::int32_t nanoseconds = 0;
    for (std::size_t i = 0; i < 9; ++i)
        nanoseconds = nanoseconds * 10 + (i < digits.size() ? digits[i] - '0' : 0);
    timestamp time{static_cast<std::int64_t>(*seconds), nanoseconds};
    if (!negative) return time;
    if (nanoseconds == 0) return timestamp{-time.seconds, 0};
    return timestamp{-time.seconds - 1, 1'000'000'000 - nanoseconds};
}

/// A record taken from the front of a body.
struct pax_record {
    std::string_view key, value;
};

/// Takes the first record off `body`; nothing if it is malformed: a length that is no number, lies, or does
/// not end on a newline; no '=', an empty key, a NUL in a key or a name.
inline std::optional<pax_record> take_pax_record(std::string_view& body) {
    auto const space = body.substr(0, 20).find(' ');
    if (space == std::string_view::npos) return {};
    auto const length = parse_decimal(body.substr(0, space));
    if (!length || *length > body.size() || *length < space + 4) return {}; // at least " k=\n"
    auto const record = body.substr(space + 1, static_cast<std::size_t>(*length) - space - 1);
    auto const equals = record.find('=');
    if (record.back() != '\n' || equals == std::string_view::npos || equals == 0) return {};
    pax_record const taken{record.substr(0, equals), record.substr(equals + 1, record.size() - equals - 2)};
    bool const is_text =
        taken.key == "path" || taken.key == "linkpath" || taken.key == "uname" || taken.key == "gname";
    if (taken.key.find('\0') != std::string_view::npos) return {};
    if (is_text && taken.value.find('\0') != std::string_view::npos) return {};
    body.remove_prefix(static_cast<std::size_t>(*length));
    return taken;
}

} // namespace shiplap::detail

// === shiplap/tar/decode.hpp ===

// From a header block, and the extended headers before it, to a tar_entry. Used by tar_scanner alone.
//
// The result keeps the promises of tar_entry whatever the archive says: a directory's name ends in '/', no
// other entry but a link has a link target, none but a regular file a size.

namespace shiplap::detail {

/// Where in which archive something was found; makes the errors of tar reading.
struct tar_place {
    std::string_view subject; ///< the archive
    std::uint64_t offset;     ///< of the header
    std::string_view name;    ///< of the entry, as far as it is known

    [[noreturn]] void fail(std::string_view reason) const {
        throw format_error{"read tar", std::string{subject}, at(reason)};
    }
    [[noreturn]] void unsupported(std::string_view reason) const {
        throw error{error_code::unsupported, "read tar", std::string{subject}, at(reason)};
    }

  private:
    [[nodiscard]] std::string at(std::string_view reason) const {
        return "entry '" + printable(name) + "' at offset " + std::to_string(offset) + ": " +
               std::string{reason};
    }
};

/// What extended headers say: `global` about all later entries, the rest about the next one.
struct tar_extensions {
    pax_records global, local;
    std::string long_name, long_link; ///< GNU's; empty if there is none

    /// The value in force. An empty local value undoes a global one (POSIX.1-2017, pax, "pax Extended
    /// Header").
    [[nodiscard]] std::optional<std::string_view> record(std::string_view key) const {
        std::string const wanted{key};
        for (auto const* records : {&local, &global})
            if (auto const found = records->find(wanted); found != records->end())
                return found->second.empty() ? std::nullopt : std::optional<std::string_view>{found->second};
        return {};
    }
};

class entry_decoder {
  public:
    entry_decoder(tar_block const& block, tar_extensions const& extensions, tar_place place)
        : block_{block}, extensions_{extensions}, place_{place}, dialect_{block.dialect()} {}

    [[nodiscard]] tar_entry decode() {
        tar_entry entry;
        entry.name = name();
        place_.name = entry.name;
        if (entry.name.empty()) place_.fail("has no name");
        entry.type = type(entry.name);
        if (entry.type == entry_type::directory && !entry.name.ends_with('/')) entry.name += '/';
        place_.name = entry.name;
        entry.mode = static_cast<std::uint32_t>(number(tar_fields::mode, "mode", "") & 07777u);
        entry.uid = number(tar_fields::uid, "uid", "uid");
        entry.gid = number(tar_fields::gid, "gid", "gid");
        auto const size = number(tar_fields::size, "size", "size");
        if (entry.type == entry_type::regular) entry.size = size;
        entry.mtime = mtime();
        if (entry.type == entry_type::hard_link || entry.type == entry_type::symbolic_link)
            entry.link_name = link_target();
        if (dialect_ != tar_dialect::v7) read_ustar_fields(entry);
        entry.xattrs = attributes();
        return entry;
    }

    /// A number of the header itself: 0..2^63-1.
    [[nodiscard]] std::uint64_t number(tar_field field, std::string_view what) const {
        auto const value = block_.number(field);
        if (!value || *value < 0)
            place_.fail("the " + std::string{what} + " is no valid number: '" + printable(block_.raw(field)) +
                        "'");
        return static_cast<std::uint64_t>(*value);
    }

  private:
    // A PAX record replaces the field, which then only has to be there for readers without PAX.
    [[nodiscard]] std::uint64_t number(tar_field field, std::string_view what, std::string_view key) const {
        auto const record = extensions_.record(key);
        if (!record) return number(field, what);
        auto const value = parse_decimal(*record);
        if (!value)
            place_.fail("the PAX " + std::string{what} + " is no valid number: '" + printable(*record) + "'");
        return *value;
    }

    [[nodiscard]] timestamp mtime() const {
        if (auto const record = extensions_.record("mtime")) {
            auto const time = parse_pax_time(*record);
            if (!time) place_.fail("the PAX mtime is no valid time: '" + printable(*record) + "'");
            return *time;
        }
        auto const seconds = block_.number(tar_fields::mtime);
        if (!seconds)
            place_.fail("the mtime is no valid number: '" + printable(block_.raw(tar_fields::mtime)) + "'");
        return {*seconds, 0};
    }

    [[nodiscard]] std::string name() const {
        auto const prefix = dialect_ == tar_dialect::ustar  ? block_.text(tar_fields::prefix)
                            : dialect_ == tar_dialect::star ? block_.text(tar_fields::star_prefix)
                                                            : std::string_view{};
        std::string whole{prefix};
        if (!prefix.empty()) whole += '/';
        whole += block_.text(tar_fields::name);
        return overridden(whole, "path", extensions_.long_name);
    }

    [[nodiscard]] std::string link_target() const {
        auto target =
            overridden(std::string{block_.text(tar_fields::link_name)}, "linkpath", extensions_.long_link);
        if (target.empty()) place_.fail("is a link without a target");
        return target;
    }

    [[nodiscard]] std::string overridden(std::string const& text, std::string_view key,
                                         std::string const& gnu) const {
        auto const pax = extensions_.record(key);
        if (pax && !gnu.empty() && *pax != gnu)
            place_.fail("its GNU long name and its PAX " + std::string{key} + " contradict each other");
        if (pax) return std::string{*pax};
        return gnu.empty() ? text : gnu;
    }

    [[nodiscard]] entry_type type(std::string_view name) const {
        auto const flag = block_.raw(tar_fields::type).front();
        switch (flag) {
        case '0': // regular
        case '7': // contiguous: a hint to file systems of old
        case '\0':
            if (!name.ends_with('/')) return entry_type::regular;
            // V7 had no flag for directories, a slash marked them.
            if (flag == '\0' || dialect_ == tar_dialect::v7) return entry_type::directory;
            place_.fail("is a regular file but its name ends in '/'");
        case '1':
        case '2':
        case '3':
        case '4':
        case '5':
        case '6':
            return entry_type{flag};
        case 'S':
            place_.unsupported("is a sparse file of GNU tar, which is not supported");
        default:
            place_.unsupported("has the type '" + printable({&flag, 1}) + "', which is not supported");
        }
    }

    void read_ustar_fields(tar_entry& entry) const {
        entry.user_name = extensions_.record("uname").value_or(block_.text(tar_fields::user_name));
        entry.group_name = extensions_.record("gname").value_or(block_.text(tar_fields::group_name));
        // A hard link repeats the numbers of the device that it names.
        if (entry.type != entry_type::character_device && entry.type != entry_type::block_device &&
            entry.type != entry_type::hard_link)
            return;
        entry.device_major = device_number(tar_fields::device_major, "device major number");
        entry.device_minor = device_number(tar_fields::device_minor, "device minor number");
    }

    [[nodiscard]] std::uint32_t device_number(tar_field field, std::string_view what) const {
        auto const value = number(field, what);
        if (value > std::numeric_limits<std::uint32_t>::max())
            place_.fail("the " + std::string{what} + " is too large");
        return static_cast<std::uint32_t>(value);
    }

    // An empty value is a value here, not an undoing: files do have such attributes.
    [[nodiscard]] std::vector<extended_attribute> attributes() const {
        pax_records found;
        for (auto const* records : {&extensions_.local, &extensions_.global})
            for (auto at = records->lower_bound(std::string{pax_xattr});
                 at != records->end() && at->first.starts_with(pax_xattr); ++at)
                found.insert(*at); // a local record was there before the global one
        std::vector<extended_attribute> result;
        result.reserve(found.size());
        for (auto const& [key, value] : found) {
            if (key.size() == pax_xattr.size()) place_.fail("has an extended attribute without a name");
            result.push_back({key.substr(pax_xattr.size()), value});
        }
        return result;
    }

    tar_block const& block_;
    tar_extensions const& extensions_;
    tar_place place_;
    tar_dialect dialect_;
};

} // namespace shiplap::detail

// === shiplap/tar/scanner.hpp ===

// tar_scanner: the one tar parser. Bytes are pushed into it in pieces of any size; it says what they are:
//
//     while (!in.empty())
//         switch (scanner.next(in)) { // takes what it needs off the front of `in`
//         case tar_scanner::event::entry: ...     scanner.entry()
//         case tar_scanner::event::payload: ...   scanner.payload(), a piece of the entry's content
//         case tar_scanner::event::end: ...       the archive is complete
//         case tar_scanner::event::need_more: ... `in` is used up
//         }
//     scanner.finish(); // there is no more input
//
// Reads ustar, PAX, GNU long names and base-256 numbers, star and V7. Where programs differ in what they make
// of an archive, it refuses: no right checksum, a number that reads in two ways, a record whose length lies,
// an extended header without an entry. One size rule: a PAX size replaces that of the header, and what is not
// a regular file has no payload, whatever its size says. Memory is bounded by tar_limits.
//
// Every error is a format_error, or an error of code `unsupported` for sparse files and types beyond POSIX;
// it names the archive, the offset of the header and the entry.

namespace shiplap {

/// What an archive may use up.
struct tar_limits {
    std::uint64_t max_pax = 1 << 20;       ///< bytes of an extended header, and of all global records
    std::uint64_t max_long_name = 1 << 16; ///< bytes of a GNU long name or long link target
    std::uint64_t max_entries = 1 << 24;   ///< entries in the archive
};

class tar_scanner {
  public:
    enum class event {
        need_more, ///< all bytes were taken and nothing is complete
        entry,     ///< a new entry begins: entry()
        payload,   ///< a non-empty piece of its content: payload()
        end,       ///< the two zero blocks; comes once
    };

    /// `subject` names the archive in messages.
    explicit tar_scanner(std::string subject, tar_limits limits = {})
        : subject_{std::move(subject)}, limits_{limits} {}

    /// Takes bytes off the front of `in` up to the next event. After an exception the scanner is of no use.
    event next(bytes_view& in) {
        while (!in.empty()) {
            switch (state_) {
            case state::header:
                if (!collect_block(in)) break;
                if (auto const found = read_block()) return *found;
                break;
            case state::extension:
                extension_.append(as_text(take(in)));
                if (remaining_ == 0) finish_extension();
                break;
            case state::payload:
                payload_ = take(in);
                if (remaining_ == 0) pass_over(state::padding, tar_padding(entry_.size));
                return event::payload;
            case state::padding:
                take(in);
                if (remaining_ == 0) state_ = state::header;
                break;
            case state::trailer:
                trailing_data_ |= as_text(in).find_first_not_of('\0') != std::string_view::npos;
                offset_ += in.size();
                in = {};
                break;
            }
        }
        return event::need_more;
    }

    /// The current entry: valid from event::entry to the next one.
    [[nodiscard]] tar_entry const& entry() const noexcept { return entry_; }
    /// After event::payload: a part of the bytes that next() consumed.
    [[nodiscard]] bytes_view payload() const noexcept { return payload_; }
    /// Bytes consumed so far. At event::entry that is where the payload starts.
    [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }
    /// Where the headers of the current entry start, extended ones included.
    [[nodiscard]] std::uint64_t entry_offset() const noexcept { return entry_offset_; }
    /// Does the next byte belong to another entry, or to the end?
    [[nodiscard]] bool between_entries() const noexcept {
        return state_ == state::header && filled_ == 0 && !extended_ && !zero_block_seen_;
    }
    /// Were both zero blocks seen?
    [[nodiscard]] bool at_end_marker() const noexcept { return state_ == state::trailer; }
    /// Did anything but zeros follow them?
    [[nodiscard]] bool trailing_data() const noexcept { return trailing_data_; }

    /// There is no more input. Throws format_error if it ended inside an entry. A missing end marker is no
    /// error here: see at_end_marker().
    void finish() const {
        if (state_ == state::trailer || (state_ == state::header && filled_ == 0 && !extended_)) return;
        bool const extension = type_ == 'x' || type_ == 'g' || type_ == 'L' || type_ == 'K';
        bool const in_content = !extension && (state_ == state::payload || state_ == state::padding);
        auto const where =
            in_content ? "the content of entry '" + printable(entry_.name) + "'" : "the header";
        throw format_error{"read tar", subject_,
                           "truncated: ends at offset " + std::to_string(offset_) + ", inside " + where +
                               " that starts at offset " + std::to_string(entry_offset_)};
    }

  private:
    enum class state { header, extension, payload, padding, trailer };

    /// Up to remaining_ bytes.
    bytes_view take(bytes_view& in) noexcept {
        auto const n = remaining_ < in.size() ? static_cast<std::size_t>(remaining_) : in.size();
        auto const taken = in.first(n);
        in = in.subspan(n);
        remaining_ -= n;
        offset_ += n;
        return taken;
    }

    void pass_over(state part, std::uint64_t size) noexcept {
        state_ = size != 0 ? part : state::header;
        remaining_ = size;
    }

    /// Is the block complete?
    bool collect_block(bytes_view& in) noexcept {
        if (filled_ == 0) begin_block();
        remaining_ = tar_block_size - filled_;
        auto const piece = as_text(take(in));
        std::copy(piece.begin(), piece.end(), block_.bytes.begin() + static_cast<std::ptrdiff_t>(filled_));
        filled_ = remaining_ == 0 ? 0 : filled_ + piece.size();
        return remaining_ == 0;
    }

    void begin_block() noexcept {
        block_offset_ = offset_;
        if (!extended_) entry_offset_ = offset_;
    }

    std::optional<event> read_block() {
        if (block_.is_zero()) return read_zero_block();
        if (zero_block_seen_) place().fail("follows a single zero block: an archive ends in two");
        if (!block_.intact()) place().fail("the header has a wrong checksum");
        switch (type_ = block_.raw(detail::tar_fields::type).front()) {
        case 'x':
        case 'g':
            if (pax_seen_) place().fail("an extended header is followed by another one, not by its entry");
            if (type_ == 'g' && extended_)
                place().fail("a global header stands between an entry and its name");
            begin_extension(limits_.max_pax);
            return {};
        case 'L':
        case 'K':
            begin_extension(limits_.max_long_name);
            return {};
        default:
            read_entry();
            return event::entry;
        }
    }

    std::optional<event> read_zero_block() {
        if (extended_) place().fail("an extended header is followed by the end of the archive");
        if (!std::exchange(zero_block_seen_, true)) return {};
        state_ = state::trailer;
        return event::end;
    }

    void begin_extension(std::uint64_t limit) {
        auto const size =
            detail::entry_decoder{block_, extensions_, place()}.number(detail::tar_fields::size, "size");
        if (size > limit)
            place().fail("an extended header of " + std::to_string(size) + " bytes; the limit is " +
                         std::to_string(limit));
        extended_ = type_ != 'g';
        pax_seen_ = pax_seen_ || type_ == 'x';
        extension_.clear();
        state_ = state::extension;
        remaining_ = size;
        if (size == 0) finish_extension();
    }

    void finish_extension() {
        auto const name = std::string_view{extension_}.substr(0, extension_.find('\0'));
        if (type_ == 'L') extensions_.long_name = name;
        if (type_ == 'K') extensions_.long_link = name;
        if (type_ == 'x') read_records(extensions_.local);
        if (type_ == 'g') read_global_records();
        pass_over(state::padding, tar_padding(extension_.size()));
    }

    void read_records(detail::pax_records& into) {
        std::string_view rest{extension_};
        while (!rest.empty()) {
            auto const position = extension_.size() - rest.size();
            auto const record = detail::take_pax_record(rest);
            if (!record)
                place().fail("malformed PAX record at byte " + std::to_string(position) + " of the header");
            if (record->key.starts_with(detail::pax_sparse))
                place().unsupported("is a sparse file of GNU tar, which is not supported");
            into.insert_or_assign(std::string{record->key}, std::string{record->value});
        }
    }

    void read_global_records() {
        auto& records = extensions_.global;
        read_records(records);
        std::uint64_t size = 0;
        for (auto const& [key, value] : records) size += key.size() + value.size();
        if (size > limits_.max_pax)
            place().fail("global records exceed the limit of " + std::to_string(limits_.max_pax) + " bytes");
    }

    void read_entry() {
        if (++entries_ > limits_.max_entries)
            place().fail("exceeds the limit of " + std::to_string(limits_.max_entries) + " entries");
        entry_ = detail::entry_decoder{block_, extensions_, place()}.decode();
        extended_ = pax_seen_ = false;
        extensions_.local.clear();
        extensions_.long_name.clear();
        extensions_.long_link.clear();
        pass_over(state::payload, entry_.size);
    }

    [[nodiscard]] detail::tar_place place() const {
        return {subject_, block_offset_, block_.text(detail::tar_fields::name)};
    }

    std::string subject_;
    tar_limits limits_;
    state state_ = state::header;
    std::uint64_t offset_ = 0, block_offset_ = 0, entry_offset_ = 0;
    std::uint64_t remaining_ = 0; // of the part that state_ names
    std::uint64_t entries_ = 0;
    detail::tar_block block_;
    std::size_t filled_ = 0; // bytes of block_
    char type_ = '\0';       // of block_
    bool zero_block_seen_ = false, trailing_data_ = false;
    bool extended_ = false; // extended headers wait for their entry
    bool pax_seen_ = false; // one of them is PAX
    std::string extension_; // the body of one
    detail::tar_extensions extensions_;
    tar_entry entry_;
    bytes_view payload_;
};

} // namespace shiplap

// === shiplap/tar/encode.hpp ===

// From a tar_entry to the blocks in front of its payload, to the letter as Go's archive/tar writes them when
// PAX is asked for: layers get their digests from these bytes.
//
// Plain ustar where it can say everything; a name of more than 100 bytes is cut at a '/' into prefix and
// name, if that works. Else an extended header with a record for each field that ustar cannot hold, and a
// ustar header behind it with what is left: text without its bytes beyond ASCII, cut; 0 for numbers that do
// not fit. Names are raw bytes: no encoding is assumed or announced.

namespace shiplap {
namespace detail {

/// The longest body of an extended header that readers accept, in bytes.
inline constexpr std::size_t max_pax_written = 1 << 20;

/// Seconds of the first instant of the year 1: what Go takes for "no time" and writes as 0.
inline constexpr std::int64_t go_zero_time = -62'135'596'800;

inline bool beyond_ascii(char c) noexcept {
    return (static_cast<unsigned char>(c) & 0x80u) != 0;
}

inline std::string ascii_only(std::string_view text) {
    std::string kept;
    std::copy_if(text.begin(), text.end(), std::back_inserter(kept), [](char c) { return !beyond_ascii(c); });
    return kept;
}

inline bool is_ascii(std::string_view text) noexcept {
    return std::none_of(text.begin(), text.end(), beyond_ascii);
}

inline void put_ascii(tar_block& block, tar_field field, std::string_view text) {
    if (is_ascii(text))
        block.put(field, text);
    else
        block.put(field, ascii_only(text));
}

inline bool fits_text(tar_field field, std::string_view text) {
    return text.size() <= field.size && is_ascii(text);
}

struct split_name {
    std::string_view prefix, rest;
};

/// Cuts a long name at the last '/' that at most 155 bytes stand before, if 1..100 bytes remain.
inline std::optional<split_name> split_ustar_name(std::string_view name) {
    if (!is_ascii(name)) return {};
    auto const last = name.size() - (name.ends_with('/') ? 2 : 1);
    auto const slash = name.rfind('/', std::min(last, tar_fields::prefix.size));
    if (slash == std::string_view::npos || slash == 0) return {};
    auto const rest = name.substr(slash + 1);
    if (rest.empty() || rest.size() > tar_fields::name.size) return {};
    return split_name{name.substr(0, slash), rest};
}

/// Resolves ".", ".." and repeated slashes by text alone; no slash remains at the end.
inline std::string clean_path(std::string_view path) {
    bool const rooted = path.starts_with('/');
    std::vector<std::string_view> parts;
    while (!path.empty()) {
        auto const part = path.substr(0, path.find('/'));
        path.remove_prefix(std::min(part.size() + 1, path.size()));
        if (part.empty() || part == ".") continue;
        bool const climbs = part == "..", can_climb = !parts.empty() && parts.back() != "..";
        if (climbs && can_climb)
            parts.pop_back();
        else if (!climbs || !rooted)
            parts.push_back(part);
    }
    std::string clean{rooted ? "/" : ""};
    for (auto const part : parts) clean += std::string{clean.empty() || clean == "/" ? "" : "/"}.append(part);
    return clean.empty() ? "." : clean;
}

/// Under what name the extended header of `name` is stored: <folder>/PaxHeaders.0/<last part>, where a
/// directory's last part is empty.
inline std::string extended_header_name(std::string_view name) {
    auto const last = name.rfind('/') + 1; // 0 if there is no '/'
    std::string whole{name.substr(0, last)};
    whole.append("PaxHeaders.0/").append(name.substr(last));
    auto stored = ascii_only(clean_path(whole)).substr(0, tar_fields::name.size);
    stored.erase(stored.find_last_not_of('/') + 1);
    return stored;
}

inline void check_encodable(tar_entry const& entry) {
    auto const refuse = [&](std::string reason) {
        throw format_error{"write tar", entry.name, std::move(reason)};
    };
    constexpr std::uint64_t max_number = std::numeric_limits<std::int64_t>::max();
    bool const link = entry.type == entry_type::hard_link || entry.type == entry_type::symbolic_link;
    bool const may_end_in_slash = link || entry.type == entry_type::directory;
    if (entry.name.empty()) refuse("an entry needs a name");
    for (auto const* text : {&entry.name, &entry.link_name, &entry.user_name, &entry.group_name})
        if (text->find('\0') != std::string::npos) refuse("'" + printable(*text) + "' contains a NUL byte");
    if (!may_end_in_slash && entry.name.ends_with('/')) refuse("only a directory's name may end in '/'");
    if (link && entry.link_name.empty()) refuse("a link needs a target");
    if (entry.mode > 07777) refuse("the mode must be permission bits, 0..07777");
    if (entry.type != entry_type::regular && entry.size != 0) refuse("only a regular file may have a size");
    if (std::max({entry.uid, entry.gid, entry.size}) > max_number)
        refuse("uid, gid and size must be below 2^63");
    if (entry.mtime.nanoseconds < 0 || entry.mtime.nanoseconds > 999'999'999)
        refuse("nanoseconds must be in 0..999999999");
    for (auto const& attribute : entry.xattrs)
        if (attribute.name.empty() ||
            attribute.name.find_first_of(std::string_view{"=\0", 2}) != std::string::npos)
            refuse("the extended attribute '" + printable(attribute.name) +
                   "' cannot be stored: a name is not empty and has neither '=' nor NUL");
}

/// What ustar cannot say about the entry, its name aside.
inline pax_records extended_records(tar_entry const& entry, timestamp mtime) {
    pax_records records;
    auto const text = [&](std::string_view key, tar_field field, std::string const& value) {
        if (!fits_text(field, value)) records.emplace(key, value);
    };
    auto const number = [&](std::string_view key, tar_field field, std::uint64_t value) {
        if (!fits_octal(field, value)) records.emplace(key, std::to_string(value));
    };
    text("linkpath", tar_fields::link_name, entry.link_name);
    text("uname", tar_fields::user_name, entry.user_name);
    text("gname", tar_fields::group_name, entry.group_name);
    number("uid", tar_fields::uid, entry.uid);
    number("gid", tar_fields::gid, entry.gid);
    number("size", tar_fields::size, entry.size);
    if (mtime.nanoseconds != 0 || !fits_octal(tar_fields::mtime, static_cast<std::uint64_t>(mtime.seconds)))
        records.emplace("mtime", pax_time(mtime));
    for (auto const& [name, value] : entry.xattrs)
        if (!records.emplace(std::string{pax_xattr} + name, value).second)
            throw format_error{"write tar", entry.name,
                               "has the extended attribute '" + printable(name) + "' twice"};
    return records;
}

inline void append_block(std::string& out, tar_block block) {
    block.seal();
    out.append(block.bytes.begin(), block.bytes.end());
}

inline void append_extended_header(std::string& out, tar_entry const& entry, pax_records const& records) {
    std::string body;
    for (auto const& [key, value] : records) append_pax_record(body, key, value);
    if (body.size() > max_pax_written)
        throw format_error{"write tar", entry.name, "its extended header would exceed 1 MiB"};
    tar_block block;
    block.put(tar_fields::name, extended_header_name(entry.name));
    for (auto const field : {tar_fields::mode, tar_fields::uid, tar_fields::gid, tar_fields::mtime})
        block.put_octal(field, 0);
    block.put_octal(tar_fields::size, body.size());
    block.put(tar_fields::type, "x");
    append_block(out, block);
    out += body;
    out.append(tar_padding(body.size()), '\0');
}

} // namespace detail

/// Appends the header blocks of an entry: a multiple of 512 bytes. Throws format_error, naming the entry, if no
/// header can say what the entry holds. Device numbers of more than 21 bits, which no Linux file has, are
/// written in base-256.
inline void append_header(std::string& out, tar_entry const& entry) {
    using namespace detail;
    check_encodable(entry);
    bool const no_time = entry.mtime == timestamp{go_zero_time, 0};
    auto const mtime = no_time ? timestamp{} : entry.mtime;
    bool const long_name = !fits_text(tar_fields::name, entry.name);
    auto const split = long_name ? split_ustar_name(entry.name) : std::nullopt;

    auto records = extended_records(entry, mtime);
    bool const plain = records.empty() && (!long_name || split);
    if (!plain && long_name) records.emplace("path", entry.name);

    tar_block block;
    put_ascii(block, tar_fields::name, plain && split ? split->rest : entry.name);
    if (plain && split) block.put(tar_fields::prefix, split->prefix);
    put_ascii(block, tar_fields::link_name, entry.link_name);
    block.put_octal(tar_fields::mode, entry.mode);
    block.put_octal(tar_fields::uid, entry.uid);
    block.put_octal(tar_fields::gid, entry.gid);
    block.put_octal(tar_fields::size, entry.size);
    block.put_octal(tar_fields::mtime,
                    static_cast<std::uint64_t>(mtime.seconds)); // a negative one does not fit: 0
    block.put(tar_fields::type, {reinterpret_cast<char const*>(&entry.type), 1});
    put_ascii(block, tar_fields::user_name, entry.user_name);
    put_ascii(block, tar_fields::group_name, entry.group_name);
    block.put_number(tar_fields::device_major, entry.device_major);
    block.put_number(tar_fields::device_minor, entry.device_minor);

    if (!plain) append_extended_header(out, entry, records);
    append_block(out, block);
}

/// The header blocks alone.
inline std::string encode_header(tar_entry const& entry) {
    std::string out;
    append_header(out, entry);
    return out;
}

} // namespace shiplap

// === shiplap/tar/writer.hpp ===

// tar_writer: pushes entries and their payloads into a byte_sink as a tar archive.
//
//     tar_writer tar{out};
//     tar.entry({.name = "etc/hostname", .mode = 0644, .size = 4});
//     tar.write(as_bytes("box\n"));
//     tar.finish();
//
// The bytes depend on the entries and payloads alone, not on how payloads are cut into writes: headers as
// encode.hpp describes them, two zero blocks at the end and no further padding.

namespace shiplap {

template <byte_sink Out>
class tar_writer {
  public:
    /// Writes into `out`, which outlives the writer.
    explicit tar_writer(Out& out) noexcept : out_{&out} {}

    /// Starts an entry. Throws format_error if it cannot be encoded or if payload of the one before is
    /// missing.
    void entry(tar_entry const& next) {
        complete();
        blocks_.assign(padding_, '\0');
        append_header(blocks_, next);
        out_->write(as_bytes(blocks_));
        name_ = next.name;
        remaining_ = next.size;
        padding_ = tar_padding(next.size);
    }

    /// The next bytes of the entry's payload. Throws format_error if they are more than its size.
    void write(bytes_view payload) {
        if (payload.size() > remaining_)
            throw format_error{"write tar", name_,
                               "has " + std::to_string(payload.size() - remaining_) +
                                   " bytes more than its size"};
        if (payload.empty()) return;
        out_->write(payload);
        remaining_ -= payload.size();
    }

    /// The entry's payload, or what is missing of it, read from `from`: into the memory of the sink where that lends
    /// some, else through `space`. Throws format_error if `from` ends before.
    template <byte_source From>
    void payload(From& from, bytes_span space) {
        while (remaining_ != 0) {
            bytes_span room{};
            if constexpr (lending_sink<Out>) room = out_->room();
            bool const lent = !room.empty();
            if (!lent) room = space;
            auto const n = from.read(room.first(
                static_cast<std::size_t>(std::min(remaining_, static_cast<std::uint64_t>(room.size())))));
            if (n == 0) complete();
            remaining_ -= n;
            if constexpr (lending_sink<Out>)
                if (lent) {
                    out_->filled(n);
                    continue;
                }
            out_->write(room.first(n));
        }
    }

    /// Ends the archive. Call once, after the last entry; throws format_error if payload is missing.
    void finish() {
        complete();
        out_->write(as_bytes(std::string(padding_ + 2 * tar_block_size, '\0')));
        padding_ = 0;
    }

  private:
    void complete() const {
        if (remaining_ != 0)
            throw format_error{"write tar", name_,
                               "has " + std::to_string(remaining_) + " bytes less than its size"};
    }

    Out* out_;
    std::string name_;   // of the current entry
    std::string blocks_; // kept for its memory
    std::uint64_t remaining_ = 0;
    std::size_t padding_ = 0;
};

} // namespace shiplap

// === shiplap/codec/estargz.hpp ===

// estargz: a gzip layer that can be read file by file without unpacking what stands before
// (stargz-snapshotter, docs/estargz.md). Every gzip reader unpacks it as a whole.
//
// The input must be a tar; its bytes pass unchanged. A gzip member starts at the content of each regular file
// and at every 4 MiB inside it; headers and padding share the member of the content before them. Behind it
// stand a member with the table of contents, itself a tar of one file, and a footer that tells where that is.
// So the diff_id covers more than the input: what write_extension() adds.
//
// Members are packed in parallel and are the same for any number of workers. Where more than 1 MiB of headers
// come in a row, one more member starts: that keeps memory bounded and is no difference to readers.

namespace shiplap {

/// The encoder stage of estargz: an annotating and extending encoder.
template <deflate_backend Backend>
class estargz_encoder {
  public:
    estargz_encoder(executor_ref executor, Backend const& backend, int level)
        : executor_{executor},
          blocks_{detail::make_gzip_writer(executor, backend, level, false)},
          toc_level_{level == default_level ? std::min(zlib_default, level_range{backend.levels}.highest)
                                            : level} {}

    /// Throws format_error if the bytes are no tar, error{unsupported} for a name that is not UTF-8 or an
    /// entry that has the name of the table of contents.
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        plain_size_ += in.size();
        while (!in.empty()) {
            auto const before = in;
            auto const event = tar_.next(in);
            if (event == tar_scanner::event::payload) {
                add_content(tar_.payload(), out);
                continue;
            }
            add_headers(before.first(before.size() - in.size()), out);
            if (event == tar_scanner::event::entry) begin_entry(tar_.entry());
        }
    }

    /// Throws format_error if the tar ends inside an entry.
    template <byte_sink Out>
    void finish(Out& out) {
        tar_.finish();
        end_member();
        if (!blocks_.block().members.empty()) post(out);
        blocks_.drain(into(out));
        measured_sink measured;
        toc_.render(measured);
        toc_size_ = measured.size;
        toc_digest_ = measured.hasher.finish();
        detail::long_gzip_member toc{out, executor_, toc_level_};
        write_extension(toc);
        toc.finish();
        plain_size_ += toc.size();
        out.write(as_bytes(estargz_footer(packed_size_)));
    }

    /// After finish(): the plain bytes that stand in the blob behind those of the input.
    template <byte_sink Out>
    void write_extension(Out& out) const {
        tar_entry entry;
        entry.name = estargz_toc_name;
        entry.size = toc_size_;
        tar_writer tar{out};
        tar.entry(entry);
        toc_.render(tar);
        tar.finish();
    }

    /// After finish(): what lazy pullers look for in the layer's descriptor.
    [[nodiscard]] annotation_map annotations() const {
        return {{toc_digest_annotation, digest::from_raw<sha256>(toc_digest_).text()},
                {"io.containers.estargz.uncompressed-size", std::to_string(plain_size_)}};
    }

  private:
    static constexpr std::uint64_t chunk_size = estargz_toc::chunk_size;
    static constexpr std::size_t block_size = 1024 * 1024; // small members share a block of about this size
    static constexpr std::size_t headers_size = 1024 * 1024;
    static constexpr int zlib_default = 6;

    /// Size and digest of what is written.
    struct measured_sink {
        sha256::hasher hasher;
        std::uint64_t size = 0;
        void write(bytes_view in) {
            hasher.update(in);
            size += in.size();
        }
    };

    void begin_entry(tar_entry const& entry) {
        if (detail::clean_path("/" + entry.name).substr(1) == estargz_toc_name)
            throw error{error_code::unsupported, "pack as estargz", entry.name,
                        "this name belongs to the table of contents that is added; remove the entry"};
        toc_.add_entry(entry);
        content_size_ = entry.size;
        content_seen_ = 0;
        file_hasher_ = {};
    }

    template <byte_sink Out>
    void add_content(bytes_view in, Out& out) {
        bool const chunked = content_size_ > chunk_size;
        if (chunked) file_hasher_.update(in);
        while (!in.empty()) {
            if (content_seen_ % chunk_size == 0) begin_chunk(out);
            auto const room = static_cast<std::size_t>(chunk_size - content_seen_ % chunk_size);
            auto const piece = in.first(std::min(in.size(), room));
            in = in.subspan(piece.size());
            append(piece);
            member_.hashed_size += piece.size();
            content_seen_ += piece.size();
        }
        if (chunked && content_seen_ == content_size_) toc_.add_file_digest(file_hasher_.finish());
    }

    template <byte_sink Out>
    void begin_chunk(Out& out) {
        end_member();
        headers_seen_ = 0;
        auto const size = static_cast<std::size_t>(std::min(chunk_size, content_size_ - content_seen_));
        auto const& block = blocks_.block();
        if (!block.members.empty() && block.plain.size() + size > block_size) post(out);
        blocks_.block().plain.reserve(std::max(size, block_size) + 64 * 1024); // some headers will follow
    }

    template <byte_sink Out>
    void add_headers(bytes_view in, Out& out) {
        while (!in.empty()) {
            auto const piece = in.first(std::min(in.size(), headers_size - headers_seen_));
            in = in.subspan(piece.size());
            append(piece);
            headers_seen_ += piece.size();
            if (headers_seen_ < headers_size) continue;
            end_member();
            headers_seen_ = 0;
            post(out);
        }
    }

    void append(bytes_view in) {
        blocks_.block().plain.append(as_text(in));
        member_.plain_size += in.size();
    }

    void end_member() {
        if (member_.plain_size != 0) blocks_.block().members.push_back(std::exchange(member_, {}));
    }

    template <byte_sink Out>
    void post(Out& out) {
        blocks_.post(into(out));
    }

    /// What is done with a packed block when its turn has come.
    template <byte_sink Out>
    auto into(Out& out) {
        return [this, &out](detail::gzip_block<Backend> const& block) {
            for (auto const& member : block.members) {
                if (member.hashed_size != 0) toc_.add_chunk(packed_size_, member.digest);
                packed_size_ += member.packed_size;
            }
            out.write(block.packed.bytes());
        };
    }

    executor_ref executor_;
    detail::gzip_writer<Backend> blocks_;
    int toc_level_; // of zlib, about as thorough as what packs the contents
    tar_scanner tar_{"layer"};
    estargz_toc toc_;
    detail::gzip_member member_;                        // the one that is being filled
    std::size_t headers_seen_ = 0;                      // bytes since the last content
    std::uint64_t content_size_ = 0, content_seen_ = 0; // of the current entry
    sha256::hasher file_hasher_;                        // of the current file, if it has more than one chunk
    std::uint64_t plain_size_ = 0, packed_size_ = 0;
    std::uint64_t toc_size_ = 0;
    std::string toc_digest_; // raw
};

/// The codec. Levels as those of gzip.
template <deflate_backend Backend = zlib_backend>
struct basic_estargz {
    static constexpr std::string_view name = "estargz", encoding = "gzip";

    int level = default_level;
    [[no_unique_address]] Backend backend{};

    [[nodiscard]] constexpr level_range levels() const { return backend.levels; }
    /// Throws option_error for a level out of range.
    [[nodiscard]] estargz_encoder<Backend> encoder(executor_ref executor) const {
        detail::check_level(*this);
        return {executor, backend, level};
    }
    [[nodiscard]] static gzip_decoder decoder() { return {}; }
    friend bool operator==(basic_estargz const&, basic_estargz const&) = default;
};

using estargz = basic_estargz<>;

} // namespace shiplap

// === shiplap/codec/estargz_payload.hpp ===

// estargz_payload: the archive in a layer that is packed with gzip. Of an eStargz blob that is what stood
// there before the table of contents was added; of any other all that it unpacks to.
//
//     estargz_payload archive{packed, "layer.tar.gz", is_annotated, everything};
//     transfer(archive, out);
//
// Made for streams: every byte is read once and from front to back, and memory does not grow with the table
// of contents, which is skipped. It is the member that begins between two entries, or behind the last one,
// with the header of its file. That nothing but a footer follows, and that this one tells the offset of that
// very member, is found out later: until read() returned 0, nothing of the archive may be published.
// A file of that name in any other gzip passes like others, unless it begins a member and is larger than 1 MiB.
//
// Some writers put the table of contents in front of the end of the archive: the two zero blocks that are
// then missing are added. Also where a footer says that the table is kept elsewhere.

namespace shiplap {

namespace detail {

/// A source that knows how much was read of it, and the last bytes of that. A byte_source.
class ending_source {
  public:
    explicit ending_source(any_byte_source from) : from_{std::move(from)} {}

    std::size_t read(bytes_span into) {
        auto const n = from_.read(into);
        size_ += n;
        ending_ += as_text(into.first(n).last(std::min(n, estargz_footer_size)));
        ending_.erase(0, ending_.size() - std::min(ending_.size(), estargz_footer_size));
        return n;
    }

    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
    /// The last 51 bytes, if there are as many.
    [[nodiscard]] bytes_view ending() const noexcept { return as_bytes(ending_); }

  private:
    any_byte_source from_;
    std::uint64_t size_ = 0;
    std::string ending_;
};

} // namespace detail

/// A byte_source.
class estargz_payload {
  public:
    /// `subject` names the layer in messages. `is_annotated`: its descriptor says that it is eStargz, so a
    /// table of contents must be there. `everything` gets all that `packed` unpacks to, which is what a
    /// diff_id is the digest of.
    estargz_payload(any_byte_source packed, std::string subject, bool is_annotated, byte_sink_ref everything)
        : packed_{std::move(packed)},
          subject_{subject},
          is_annotated_{is_annotated},
          everything_{everything},
          archive_{std::move(subject)} {}

    /// Throws format_error if the bytes are no gzip or no tar, or the table of contents is not where it
    /// should be.
    std::size_t read(bytes_span into) {
        if (into.empty()) return 0;
        for (;;) {
            if (auto const n = hand_out(into)) return n;
            if (ended_) return 0;
            if (auto const n = read_member(into)) {
                scan(archive_, into.first(n));
                return n;
            }
            begin_member();
        }
    }

  private:
    static constexpr std::size_t most_held = 1024 * 1024;

    /// What is to be given before anything else is read.
    std::size_t hand_out(bytes_span into) {
        auto const n = ahead_.copy(reinterpret_cast<char*>(into.data()), into.size());
        ahead_.erase(0, n);
        return n;
    }

    std::size_t read_member(bytes_span into) {
        auto const n = decoder_.read_member(packed_, into);
        everything_.write(into.first(n));
        return n;
    }

    void begin_member() {
        if (!decoder_.begin_member(packed_)) return end_without_table();
        if (!archive_.between_entries() && !archive_.at_end_marker()) return;
        std::array<std::byte, tar_block_size> head;
        std::size_t filled = 0;
        while (auto const n = read_member(bytes_span{head}.subspan(filled))) filled += n;
        auto const begin = bytes_view{head}.first(filled);
        if (is_table_header(begin)) return read_table(begin);
        scan(archive_, begin);
        ahead_ = as_text(begin);
    }

    [[nodiscard]] static bool is_table_header(bytes_view begin) {
        detail::tar_block block;
        if (begin.size() != block.bytes.size()) return false;
        std::copy_n(as_text(begin).begin(), block.bytes.size(), block.bytes.begin());
        auto const type = block.raw(detail::tar_fields::type).front();
        return block.text(detail::tar_fields::name) == estargz_toc_name && (type == '0' || type == '\0') &&
               block.text(detail::tar_fields::prefix).empty() && block.intact();
    }

    /// Passes over the table of contents. An ordinary file of its name is handed out, if it is not too large
    /// to wait for what follows it.
    void read_table(bytes_view begin) {
        auto const offset = decoder_.member_offset();
        tar_scanner table{subject_};
        auto entries = scan(table, begin);
        ahead_ = as_text(begin);
        std::string space(64 * std::size_t{1024}, '\0');
        bytes_span const buffer{reinterpret_cast<std::byte*>(space.data()), space.size()};
        while (entries == 1) {
            auto const piece = bytes_view{buffer.first(read_member(buffer))};
            if (piece.empty()) break;
            entries += scan(table, piece);
            if (ahead_.size() <= most_held) ahead_ += as_text(piece);
        }
        bool const is_whole = entries == 1 && table.at_end_marker() && !table.trailing_data();
        bool const goes_on = is_whole && decoder_.begin_member(packed_);
        if (goes_on && is_footer_of(offset)) {
            ahead_.clear();
            return end_archive();
        }
        if (goes_on || is_annotated_ || ahead_.size() > most_held)
            fail("the member at offset " + std::to_string(offset) +
                 " begins as the table of contents of eStargz does, but is not followed by the end of the "
                 "layer and a footer that says so");
        scan(archive_, as_bytes(ahead_));
    }

    /// With its two zero blocks, which some writers leave out.
    void end_archive() {
        if (archive_.between_entries()) ahead_.assign(2 * tar_block_size, '\0');
        ended_ = true;
    }

    /// Is the member that has just begun the last one, and tells this offset?
    [[nodiscard]] bool is_footer_of(std::uint64_t toc_offset) {
        std::byte one{};
        if (read_member({&one, 1}) != 0 || decoder_.begin_member(packed_)) return false;
        auto const size = packed_.size() - decoder_.member_offset();
        return size <= packed_.ending().size() &&
               estargz_toc_offset(packed_.ending().last(static_cast<std::size_t>(size))) == toc_offset;
    }

    void end_without_table() {
        auto const ending = packed_.ending();
        if (as_text(ending).ends_with(external_toc_footer())) return end_archive();
        auto told = estargz_toc_offset(ending);
        if (!told) told = estargz_toc_offset(ending.last(std::min(ending.size(), stargz_footer_size)));
        if (told)
            fail("its footer says that the table of contents of eStargz is at offset " +
                 std::to_string(*told) + ", where it is not");
        if (is_annotated_) fail("its annotations say that it is eStargz, but it has no table of contents");
        ended_ = true;
    }

    /// Returns the number of entries that begin in these bytes.
    static unsigned scan(tar_scanner& archive, bytes_view in) {
        unsigned entries = 0;
        while (!in.empty()) entries += archive.next(in) == tar_scanner::event::entry ? 1 : 0;
        return entries;
    }

    [[noreturn]] void fail(std::string reason) const {
        throw format_error{"unpack", subject_, std::move(reason)};
    }

    detail::ending_source packed_;
    std::string subject_;
    bool is_annotated_;
    byte_sink_ref everything_;
    gzip_decoder decoder_;
    tar_scanner archive_;
    std::string ahead_;
    bool ended_ = false;
};

} // namespace shiplap

// === shiplap/codec/gzip.hpp ===

// gzip: the encoding that every reader knows (RFC 1952).
//
// The output is one gzip member for every MiB of input, the last one shorter, whatever the number of workers
// and the size of the writes; an empty input is one empty member. The members cost about 0.1 % in size and
// make packing parallel.
//
// Each member tells its size in its header: see gzip_member.hpp.
//
// Needs zlib; another deflate_backend may do the packing: basic_gzip<libdeflate_backend>{.level = 9}.

namespace shiplap {

/// The encoder stage of gzip.
template <deflate_backend Backend>
class gzip_encoder {
  public:
    /// Plain bytes in a member.
    static constexpr std::size_t member_size = 1024 * 1024;

    gzip_encoder(executor_ref executor, Backend const& backend, int level)
        : blocks_{detail::make_gzip_writer(executor, backend, level, true)} {}

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        while (!in.empty()) {
            auto& plain = blocks_.block().plain;
            auto const piece = in.first(std::min(in.size(), member_size - plain.size()));
            plain.reserve(member_size);
            plain.append(as_text(piece));
            in = in.subspan(piece.size());
            if (plain.size() == member_size) post(out);
        }
    }

    template <byte_sink Out>
    void finish(Out& out) {
        if (!posted_ || !blocks_.block().plain.empty()) post(out);
        blocks_.drain(into(out));
    }

  private:
    template <byte_sink Out>
    static auto into(Out& out) {
        return [&out](detail::gzip_block<Backend> const& block) { out.write(block.packed.bytes()); };
    }

    template <byte_sink Out>
    void post(Out& out) {
        auto& block = blocks_.block();
        block.members.push_back({.plain_size = block.plain.size()});
        blocks_.post(into(out));
        posted_ = true;
    }

    detail::gzip_writer<Backend> blocks_;
    bool posted_ = false;
};

/// The codec. Levels are those of the backend; -1 leaves the choice to it.
template <deflate_backend Backend = zlib_backend>
struct basic_gzip {
    static constexpr std::string_view name = "gzip", encoding = "gzip";

    int level = default_level;
    [[no_unique_address]] Backend backend{};

    [[nodiscard]] constexpr level_range levels() const { return backend.levels; }
    /// Throws option_error for a level out of range.
    [[nodiscard]] gzip_encoder<Backend> encoder(executor_ref executor) const {
        detail::check_level(*this);
        return {executor, backend, level};
    }
    [[nodiscard]] static gzip_decoder decoder() { return {}; }
    friend bool operator==(basic_gzip const&, basic_gzip const&) = default;
};

using gzip = basic_gzip<>;

} // namespace shiplap

// === shiplap/codec/uncompressed.hpp ===

// uncompressed: the tar as it is. Needs no library.

namespace shiplap {

/// Passes every byte through. pack() knows this type: what goes in and what comes out has one digest, so it
/// is computed once.
struct identity_stage {
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        out.write(in);
    }
    template <byte_sink Out>
    void finish(Out&) noexcept {}
};

/// The inverse of identity_stage, which is itself.
struct identity_decoder {
    template <byte_source In>
    std::size_t read(In& in, bytes_span into) {
        return in.read(into);
    }
};

/// No compression. A level is accepted, as one option string may serve several codecs, and has no effect.
struct uncompressed {
    static constexpr std::string_view name = "uncompressed", encoding = "";

    int level = 0; ///< ignored

    [[nodiscard]] static constexpr level_range levels() { return {default_level, 22}; }
    [[nodiscard]] identity_stage encoder(executor_ref) const noexcept { return {}; }
    [[nodiscard]] static identity_decoder decoder() noexcept { return {}; }
    friend bool operator==(uncompressed const&, uncompressed const&) = default;
};

} // namespace shiplap

// === shiplap/digest/tap.hpp ===

// tap: a stage that lets bytes through unchanged and knows their digest and number at the end. It hashes each piece
// before it passes it on; gathering_tap does that at the same time.

namespace shiplap {

/// What a tap saw.
struct content_facts {
    shiplap::digest digest;
    std::uint64_t size = 0; ///< bytes
};

/// Copies go on independently from what both have seen.
template <digest_algorithm D>
class tap {
  public:
    tap() = default;
    /// One that has seen `size` bytes, all in `hasher`.
    tap(typename D::hasher hasher, std::uint64_t size) : hasher_{std::move(hasher)}, size_{size} {}

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        size_ += in.size();
        hasher_.update(in);
        out.write(in);
    }

    template <byte_sink Out>
    void finish(Out&) noexcept {}

    /// Digest and size of all that passed. Call once, after the last write().
    [[nodiscard]] content_facts facts() { return {digest::from_raw<D>(hasher_.finish()), size_}; }

  private:
    typename D::hasher hasher_;
    std::uint64_t size_ = 0;
};

} // namespace shiplap

// === shiplap/digest/gathering_tap.hpp ===

// gathering_tap: a tap that passes bytes on in large chunks, and hashes each on an executor while that chunk is written
// and the next ones are filled. It lends its chunks as a lending_sink does, so that files are read straight into them:
// nothing is copied for the hash.
//
// Chunks are hashed one after the other, oldest first. When all are full and no worker has got to them, because all
// compress, the writer hashes one itself: so it never waits for a thread that may be waiting for it. A few chunks are
// enough: if hashing in the writer keeps the compressors waiting, their queue is empty and the next chunk is taken at once.

namespace shiplap {

template <digest_algorithm D>
class gathering_tap {
  public:
    explicit gathering_tap(executor_ref executor = {}) : executor_{executor} {}
    gathering_tap(gathering_tap const&) = delete;
    gathering_tap& operator=(gathering_tap const&) = delete;
    /// Chunks that nobody has started to hash never will be.
    ~gathering_tap() { work_->cancel(); }

    /// Memory for the next bytes, never empty.
    template <byte_sink Out>
    [[nodiscard]] bytes_span room(Out&) {
        if (!chunk_) chunk_ = work_->empty_chunk();
        return {chunk_.get() + used_, chunk_size - used_};
    }

    /// The first `n` bytes of room() are there.
    template <byte_sink Out>
    void filled(std::size_t n, Out& out) {
        used_ += n;
        if (used_ == chunk_size) flush(out);
    }

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        while (!in.empty()) {
            auto const to = room(out);
            auto const n = std::min(to.size(), in.size());
            std::memcpy(to.data(), in.data(), n);
            filled(n, out);
            in = in.subspan(n);
        }
    }

    template <byte_sink Out>
    void finish(Out& out) {
        flush(out);
    }

    /// A tap that has seen what was passed on: all, after finish().
    [[nodiscard]] tap<D> seen() { return {work_->hasher_of_all(), size_}; }

    /// Digest and size of all that passed. After finish().
    [[nodiscard]] content_facts facts() { return seen().facts(); }

  private:
    static constexpr std::size_t chunk_size = 4 * transfer_size; // smaller ones cost more wakings of threads
    static constexpr std::size_t most_chunks = 3;
    using chunk = std::unique_ptr<std::byte[]>;

    // What tasks refer to; they keep it alive.
    class work {
      public:
        [[nodiscard]] chunk empty_chunk() {
            std::unique_lock lock{mutex_};
            while (free_.empty() && chunks_ == most_chunks) {
                if (hashing_)
                    changed_.wait(lock);
                else
                    hash_oldest(lock);
            }
            if (!free_.empty()) {
                auto found = std::move(free_.back());
                free_.pop_back();
                return found;
            }
            free_.reserve(most_chunks); // hashing must not throw
            auto made = std::make_unique_for_overwrite<std::byte[]>(chunk_size);
            ++chunks_;
            return made;
        }

        /// True if somebody has to be called to hash it.
        [[nodiscard]] bool add(chunk bytes, std::size_t size) {
            std::lock_guard const lock{mutex_};
            full_.push_back({std::move(bytes), size});
            return !hashing_ && !std::exchange(called_, true);
        }

        void hash_all_there_is() {
            std::unique_lock lock{mutex_};
            called_ = false;
            while (!hashing_ && !full_.empty()) hash_oldest(lock);
        }

        [[nodiscard]] typename D::hasher hasher_of_all() {
            std::unique_lock lock{mutex_};
            while (hashing_ || !full_.empty()) {
                if (hashing_)
                    changed_.wait(lock);
                else
                    hash_oldest(lock);
            }
            return hasher_;
        }

        void cancel() {
            std::lock_guard const lock{mutex_};
            full_.clear();
        }

      private:
        struct filled_chunk {
            chunk bytes;
            std::size_t size;
        };

        // Who calls this holds the lock, before and after.
        void hash_oldest(std::unique_lock<std::mutex>& lock) {
            hashing_ = true;
            auto oldest = std::move(full_.front());
            full_.pop_front();
            lock.unlock();
            hasher_.update({oldest.bytes.get(), oldest.size});
            lock.lock();
            hashing_ = false;
            free_.push_back(std::move(oldest.bytes));
            changed_.notify_one();
        }

        std::mutex mutex_;
        std::condition_variable changed_; // who has set hashing_ is done with a chunk
        std::list<filled_chunk> full_;    // oldest first
        std::vector<chunk> free_;
        std::size_t chunks_ = 0; // in full_, in free_, being hashed, being filled
        bool hashing_ = false;   // whoever has set it uses hasher_ alone
        bool called_ = false;    // a task will look at full_
        typename D::hasher hasher_;
    };

    template <byte_sink Out>
    void flush(Out& out) {
        if (used_ == 0) return;
        bytes_view const in{chunk_.get(), std::exchange(used_, std::size_t{0})};
        size_ += in.size();
        // Still there when it has been hashed: only room() uses it anew.
        if (work_->add(std::move(chunk_), in.size()))
            executor_.post([work = work_] { work->hash_all_there_is(); });
        out.write(in);
    }

    executor_ref executor_;
    std::shared_ptr<work> work_ = std::make_shared<work>();
    chunk chunk_; // being filled, or none
    std::size_t used_ = 0;
    std::uint64_t size_ = 0; // of what was passed on
};

} // namespace shiplap

// === shiplap/image/json.hpp ===

// JSON as images use it: read strictly, written exactly as Go writes it.
//
// Reading. A document is hashed by one program and read by another, so everything that two readers may
// understand differently is an error: duplicate names, names that differ only in case (Go's reader takes one
// for the other), a byte order mark, invalid UTF-8, lone surrogates, anything after the value. So are
// documents over 4 MiB and nesting deeper than 64 (RFC 7493, I-JSON; image-spec, "+json" media types).
// Unknown members are no error.
//
// Objects whose names are data keep names that differ only in case: annotations, Labels, Volumes,
// ExposedPorts.
//
// Writing. The digest of an object is that of its bytes, so they are those of Go's encoding/json: `<`, `>`,
// `&`, U+2028 and U+2029 escaped, all else plain UTF-8, two spaces of indentation or none, no newline at the
// end.

namespace shiplap {

using json = nlohmann::ordered_json;

/// Bytes of the largest document that is read.
inline constexpr std::size_t max_document_size = 4 * 1024 * 1024;
/// Arrays and objects inside each other in the deepest document that is read.
inline constexpr std::size_t max_document_depth = 64;

namespace detail {

/// A name as Go's reader compares it: without case, and with the two letters outside ASCII that fold into it.
inline std::string fold_name(std::string_view name) {
    std::string out;
    for (std::size_t i = 0; i < name.size(); ++i) {
        auto const rest = name.substr(i);
        if (rest.starts_with("\u017f")) { // long s
            out += 's';
            i += 1;
        } else if (rest.starts_with("\u212a")) { // kelvin sign
            out += 'k';
            i += 2;
        } else {
            out += 'A' <= name[i] && name[i] <= 'Z' ? static_cast<char>(name[i] - 'A' + 'a') : name[i];
        }
    }
    return out;
}

/// One step of a JSON pointer (RFC 6901).
inline std::string pointer_step(std::string_view name) {
    std::string out = "/";
    for (char const c : name) {
        if (c == '~')
            out += "~0";
        else if (c == '/')
            out += "~1";
        else
            out += c;
    }
    return out;
}

// Values are made by these and not by json's constructors and operators, each of which is a template that searches
// all conversions to JSON: that would double what this header costs to compile.

/// A value of `type`, for which json's own type is T.
template <class T>
json json_scalar(json::value_t type, T value) {
    json out(type);
    *out.get_ptr<T*>() = std::move(value);
    return out;
}

inline json json_text(std::string text) {
    return json_scalar(json::value_t::string, std::move(text));
}
inline json json_number(std::uint64_t value) {
    return json_scalar(json::value_t::number_unsigned, value);
}
inline json empty_object() {
    return json(json::value_t::object);
}
inline json empty_array() {
    return json(json::value_t::array);
}

/// Appends a member to an object that does not have it yet. (operator[] would search all names, which is quadratic in
/// the size of a hostile object.)
inline json& add_member(json& object, std::string_view name, json value) {
    return object.get_ptr<json::object_t*>()->emplace_back(std::string{name}, std::move(value)).second;
}

/// The same for an optional text: an empty one is left out.
inline void add_text(json& object, std::string_view name, std::string const& value) {
    if (!value.empty()) add_member(object, name, json_text(value));
}

/// The member of an object, null if it was not there.
inline json& member(json& object, std::string_view name) {
    for (auto& [key, value] : *object.get_ptr<json::object_t*>())
        if (key == name) return value;
    return add_member(object, name, json(nullptr));
}

/// Appends to an array.
inline json& add_item(json& array, json value) {
    return array.get_ptr<json::array_t*>()->emplace_back(std::move(value));
}

inline json json_texts(std::vector<std::string> const& values) {
    auto out = empty_array();
    for (auto const& value : values) add_item(out, json_text(value));
    return out;
}

/// Takes the events of the parser, builds the value, and refuses what parse_json() promises to refuse.
class strict_json_builder {
  public:
    explicit strict_json_builder(bool names_are_data) : all_names_are_data_{names_are_data} {}

    bool null() { return put(json(nullptr)); }
    bool boolean(bool value) { return put(json_scalar(json::value_t::boolean, value)); }
    bool number_integer(std::int64_t value) { return put(json_scalar(json::value_t::number_integer, value)); }
    bool number_unsigned(std::uint64_t value) { return put(json_number(value)); }
    bool number_float(double value, std::string const&) {
        return put(json_scalar(json::value_t::number_float, value));
    }
    bool string(std::string& value) { return put(json_text(std::move(value))); }
    bool binary(json::binary_t&) { return false; } // no such thing in text

    bool start_object(std::size_t) { return open(empty_object()); }
    bool start_array(std::size_t) { return open(empty_array()); }
    bool end_object() { return close(); }
    bool end_array() { return close(); }

    bool key(std::string& name) {
        auto& here = open_[depth_ - 1];
        auto const [other, is_new] = here.names.emplace(here.names_are_data ? name : fold_name(name), name);
        if (!is_new)
            return refuse("the object at '" + place() + "' has the names \"" + other->second + "\" and \"" +
                          name + "\", which some readers take for the same");
        here.name = std::move(name);
        return true;
    }

    bool parse_error(std::size_t, std::string const&, nlohmann::detail::exception const& reason) {
        std::string_view text =
            reason.what(); // "[json.exception.parse_error.101] parse error at line 1, ..."
        if (auto const end = text.find("] "); text.starts_with("[json.") && end != text.npos)
            text.remove_prefix(end + 2);
        return refuse(std::string{text});
    }

    [[nodiscard]] std::string const& error() const noexcept { return error_; }
    [[nodiscard]] json take() { return std::move(root_); }

  private:
    struct level {
        json* value = nullptr;
        bool names_are_data = false;
        std::string name{};                         ///< of the member that comes next
        std::map<std::string, std::string> names{}; ///< all so far, as they are compared and as they are
    };

    // A json& stays valid while it is open: what holds it grows only after it was closed.
    json& place_value(json&& value) {
        if (depth_ == 0) return root_ = std::move(value);
        auto& here = open_[depth_ - 1];
        return here.value->is_array() ? add_item(*here.value, std::move(value))
                                      : add_member(*here.value, here.name, std::move(value));
    }

    bool put(json&& value) {
        place_value(std::move(value));
        return true;
    }

    bool open(json&& value) {
        if (depth_ == max_document_depth)
            return refuse("nested deeper than " + std::to_string(max_document_depth) + " levels");
        std::string_view const name = depth_ == 0 ? std::string_view{} : open_[depth_ - 1].name;
        bool const names_are_data = all_names_are_data_ || name == "annotations" || name == "Labels" ||
                                    name == "Volumes" || name == "ExposedPorts";
        auto& placed = place_value(std::move(value));
        open_[depth_++] = {&placed, names_are_data};
        return true;
    }

    bool close() {
        --depth_;
        return true;
    }

    bool refuse(std::string reason) {
        if (error_.empty()) error_ = printable(reason);
        return false;
    }

    [[nodiscard]] std::string place() const {
        std::string out;
        for (std::size_t i = 0; i + 1 < depth_; ++i) {
            auto const* const array = open_[i].value->get_ptr<json::array_t const*>();
            out += array ? "/" + std::to_string(array->size() - 1) : pointer_step(open_[i].name);
        }
        return out;
    }

    bool all_names_are_data_;
    json root_;
    std::array<level, max_document_depth> open_;
    std::size_t depth_ = 0;
    std::string error_;
};

/// Compact or indented JSON with the escapes that Go adds. The characters occur only inside strings, so the
/// text can be patched without a look at its structure.
inline std::string escape_html(std::string_view plain) {
    std::string out;
    out.reserve(plain.size());
    for (std::size_t i = 0; i < plain.size(); ++i) {
        auto const rest = plain.substr(i);
        if (rest.starts_with("\u2028") || rest.starts_with("\u2029")) {
            out += rest[2] == '\xa8' ? "\\u2028" : "\\u2029";
            i += 2;
        } else if (rest[0] == '<') {
            out += "\\u003c";
        } else if (rest[0] == '>') {
            out += "\\u003e";
        } else if (rest[0] == '&') {
            out += "\\u0026";
        } else {
            out += rest[0];
        }
    }
    return out;
}

} // namespace detail

/// What may be otherwise in documents that are passed on and not acted upon.
struct json_rules {
    std::size_t max_size = max_document_size; ///< bytes
    bool names_are_data = false;              ///< names may differ only in case, wherever they are
};

/// Reads a document under the rules above. `subject` names it in messages: a path, a digest. Throws
/// format_error that tells line and column, or the place as a JSON pointer.
inline json parse_json(std::string_view text, std::string_view subject, json_rules const& rules = {}) {
    auto const fail = [&](std::string reason) {
        return format_error{"parse JSON", std::string{subject}, std::move(reason)};
    };
    if (text.size() > rules.max_size)
        throw fail("has " + std::to_string(text.size()) + " bytes, at most " +
                   std::to_string(rules.max_size) + " are read");
    if (text.starts_with("\xef\xbb\xbf")) throw fail("starts with a byte order mark, which JSON must not");
    if (auto const zero = text.find('\0'); zero != text.npos) // to the parser that would be the end
        throw fail("has a zero byte at offset " + std::to_string(zero));

    // The parser itself instead of json::sax_parse(), which also instantiates the readers of all binary formats; and
    // that of nlohmann::json, which the library's header instantiates anyway and which gives the same events.
    detail::strict_json_builder builder{rules.names_are_data};
    using input = decltype(nlohmann::detail::input_adapter(text.data(), text.data()));
    nlohmann::detail::parser<nlohmann::json, input> parser{
        nlohmann::detail::input_adapter(text.data(), text.data() + text.size())};
    if (!parser.sax_parse(&builder)) throw fail(builder.error());
    return builder.take();
}

namespace detail {

inline std::string dumped(json const& value, int indent) {
    try {
        return escape_html(value.dump(indent));
    } catch (json::exception const&) { // the only one that it throws: what came in by parse_json() is UTF-8
        throw format_error{"write JSON", "", "a text in it is not UTF-8"};
    }
}

} // namespace detail

/// Indented by two spaces, as Go's json.MarshalIndent(v, "", "  "): manifests and indexes. Throws format_error
/// for text that is not UTF-8.
inline std::string pretty(json const& value) {
    return detail::dumped(value, 2);
}

/// Without spaces, as Go's json.Marshal(v): configurations, index.json. Throws as pretty().
inline std::string compact(json const& value) {
    return detail::dumped(value, -1);
}

} // namespace shiplap

// === shiplap/image/json_node.hpp ===

// json_node: a value inside a document together with its place, for readers whose messages tell which member
// is wrong:
//
//     json_node root{document, "index.json"};
//     root["manifests"].item(0)["size"].integer();
//     // parse JSON 'index.json': at '/manifests/0/size': must be an integer from 0 to 2^63-1
//
// A member that is absent or null, which mean the same, is a node that is false. What reads such a node
// throws, as it does for a value of the wrong type; length() alone takes it for an empty array.

namespace shiplap {

/// Refers to the document and to `subject`, which must outlive it.
class json_node {
  public:
    json_node(json const& document, std::string_view subject) : value_{&document}, subject_{subject} {}

    /// Whether the value is there and not null.
    explicit operator bool() const noexcept { return value_ != nullptr && !value_->is_null(); }

    /// The value, which is there.
    [[nodiscard]] json const& value() const noexcept { return *value_; }

    /// Throws the format_error for this place; `reason` as in "must be a string".
    [[noreturn]] void refuse(std::string_view reason) const {
        throw format_error{"parse JSON", std::string{subject_},
                           (pointer_.empty() ? "the document" : "at '" + printable(pointer_) + "':") + " " +
                               (*this ? printable(reason) : "is missing")};
    }

    /// The member of that name. Throws if this is no object.
    [[nodiscard]] json_node operator[](std::string_view name) const {
        auto path = pointer_ + detail::pointer_step(name);
        for (auto const& [key, value] : object())
            if (key == name) return {&value, subject_, std::move(path)};
        return {nullptr, subject_, std::move(path)};
    }

    /// Whether there is a member of that name, be it null.
    [[nodiscard]] bool has(std::string_view name) const { return (*this)[name].value_ != nullptr; }

    [[nodiscard]] std::string const& text() const {
        if (*this && value_->is_string()) return *value_->get_ptr<json::string_t const*>();
        refuse("must be a string");
    }

    /// The text of a member, empty if it is not there.
    [[nodiscard]] std::string text_of(std::string_view name) const {
        auto const member = (*this)[name];
        return member ? member.text() : std::string{};
    }

    /// An integer from 0 to 2^63-1, written as one: not 1.0, not 1e3, not "1".
    [[nodiscard]] std::uint64_t integer() const {
        constexpr std::uint64_t highest = std::numeric_limits<std::int64_t>::max();
        if (*this && value_->is_number_unsigned())
            if (auto const found = *value_->get_ptr<json::number_unsigned_t const*>(); found <= highest)
                return found;
        refuse("must be an integer from 0 to 2^63-1");
    }

    [[nodiscard]] bool boolean() const {
        if (*this && value_->is_boolean()) return *value_->get_ptr<json::boolean_t const*>();
        refuse("must be true or false");
    }

    [[nodiscard]] json::object_t const& object() const {
        if (*this && value_->is_object()) return *value_->get_ptr<json::object_t const*>();
        refuse("must be an object");
    }

    /// The number of elements of an array.
    [[nodiscard]] std::size_t length() const { return *this ? array().size() : 0; }
    /// The element `index`, which is less than length().
    [[nodiscard]] json_node item(std::size_t index) const {
        return {&array()[index], subject_, pointer_ + "/" + std::to_string(index)};
    }

    /// All strings of an array.
    [[nodiscard]] std::vector<std::string> texts() const {
        std::vector<std::string> out;
        for (std::size_t i = 0; i < length(); ++i) out.push_back(item(i).text());
        return out;
    }

  private:
    json_node(json const* value, std::string_view subject, std::string pointer)
        : value_{value}, subject_{subject}, pointer_{std::move(pointer)} {}

    [[nodiscard]] json::array_t const& array() const {
        if (*this && value_->is_array()) return *value_->get_ptr<json::array_t const*>();
        refuse("must be an array");
    }

    json const* value_;
    std::string_view subject_;
    std::string pointer_{};
};

} // namespace shiplap

// === shiplap/image/platform.hpp ===

// platform: what an image runs on, as the registered values of Go: "linux/amd64", "linux/arm/v7" (image-spec,
// image-index.md, "platform").
//
// People and kernels use other names for the same things (x86_64, aarch64, armhf, macos); parse_platform()
// and normalised() bring them to one form by the rules of containerd's platforms package, so that equal
// platforms compare equal.

namespace shiplap {

struct platform {
    std::string os{}, architecture{}, variant{};
    std::string os_version{};
    std::vector<std::string> os_features{};
    friend bool operator==(platform const&, platform const&) = default;
};

namespace detail {

inline std::string lower_case(std::string_view text) {
    std::string out{text};
    for (char& c : out)
        if ('A' <= c && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return out;
}

inline constexpr std::array<std::string_view, 17> known_systems{
    "aix",   "android", "darwin", "dragonfly", "freebsd", "hurd",    "illumos", "ios", "js",
    "linux", "nacl",    "netbsd", "openbsd",   "plan9",   "solaris", "windows", "zos"};

inline constexpr std::array<std::string_view, 24> known_architectures{
    "386",     "amd64",  "amd64p32", "arm",      "armbe",     "arm64",       "arm64be", "loong64",
    "mips",    "mipsle", "mips64",   "mips64le", "mips64p32", "mips64p32le", "ppc",     "ppc64",
    "ppc64le", "riscv",  "riscv64",  "s390",     "s390x",     "sparc",       "sparc64", "wasm"};

} // namespace detail

/// The same platform under its registered names: lower case; x86_64 is amd64, aarch64 arm64, i386 386, armhf
/// arm/v7, armel arm/v6, macos darwin; the variants that are the default (amd64/v1, arm64/v8) are dropped,
/// the missing one of arm is v7.
inline platform normalised(platform what) {
    auto& [os, architecture, variant, os_version, os_features] = what;
    os = detail::lower_case(os);
    architecture = detail::lower_case(architecture);
    variant = detail::lower_case(variant);
    if (os == "macos") os = "darwin";

    if (architecture == "i386") {
        architecture = "386";
        variant.clear();
    } else if (architecture == "x86_64" || architecture == "x86-64" || architecture == "amd64") {
        architecture = "amd64";
        if (variant == "v1") variant.clear();
    } else if (architecture == "aarch64" || architecture == "arm64") {
        architecture = "arm64";
        if (variant == "8" || variant == "v8" || variant == "v8.0") variant.clear();
        if (variant == "9" || variant == "9.0" || variant == "v9.0") variant = "v9";
    } else if (architecture == "armhf") {
        architecture = "arm";
        variant = "v7";
    } else if (architecture == "armel") {
        architecture = "arm";
        variant = "v6";
    } else if (architecture == "arm") {
        if (variant.empty()) variant = "v7";
        if (variant == "5" || variant == "6" || variant == "7" || variant == "8") variant.insert(0, "v");
    }
    return what;
}

/// The platform that this program runs on. Throws system_error.
inline platform host_platform() {
    struct ::utsname names {};
    if (::uname(&names) != 0) throw system_error{"uname", "", errno};
    std::string_view const machine{names.machine};

    platform host{.os = names.sysname, .architecture = names.machine};
    if (machine.size() == 4 && machine[0] == 'i' && machine.ends_with("86")) host.architecture = "386";
    if (machine == "loongarch64") host.architecture = "loong64";
    if (machine.starts_with("armv")) { // armv6l, armv7l, armv8l
        host.architecture = "arm";
        host.variant = machine.substr(3, 2);
    }
    return normalised(host);
}

/// "os/architecture/variant", without what is empty at the end; an unknown system is "unknown".
inline std::string format(platform const& what) {
    std::string out = what.os.empty() ? "unknown" : what.os;
    for (auto const* part : {&what.architecture, &what.variant})
        if (!part->empty()) out += "/" + *part;
    return out;
}

/// Reads "os/architecture[/variant]", or an operating system or architecture alone (the other one is then the
/// host's), and normalises it. The system may have a version: "windows(10.0.17763)/amd64". Throws
/// option_error.
inline platform parse_platform(std::string_view text) {
    auto const fail = [&](std::string reason) {
        return option_error{"parse platform", std::string{text},
                            std::move(reason) + "; must be os/architecture[/variant], as in linux/arm64"};
    };
    std::vector<std::string_view> parts;
    for (auto rest = text;;) {
        auto const slash = rest.find('/');
        parts.push_back(rest.substr(0, slash));
        if (slash == rest.npos) break;
        rest.remove_prefix(slash + 1);
    }
    if (parts.size() > 3) throw fail("has more than three parts");

    platform out;
    if (auto const open = parts[0].find('('); open != text.npos) {
        if (!parts[0].ends_with(')')) throw fail("has '(' without ')' at the end of the operating system");
        out.os_version = parts[0].substr(open + 1, parts[0].size() - open - 2);
        parts[0] = parts[0].substr(0, open);
    }
    static constexpr std::string_view allowed =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    for (auto const part : parts)
        if (part.empty() || part.find_first_not_of(allowed) != part.npos)
            throw fail("has an empty part or one with other characters than letters, digits, '_', '.', '-'");
    if (out.os_version.find_first_not_of(allowed) != out.os_version.npos)
        throw fail("has a version with other characters than letters, digits, '_', '.', '-'");

    if (parts.size() > 1) {
        out.os = parts[0];
        out.architecture = parts[1];
        if (parts.size() > 2) out.variant = parts[2];
        return normalised(out);
    }
    auto const known = [](auto const& names, std::string_view name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    auto const host = host_platform();
    platform const as_system = normalised({.os = std::string{parts[0]}});
    if (known(detail::known_systems, as_system.os)) {
        out.os = as_system.os;
        out.architecture = host.architecture;
        out.variant = host.variant;
        return out;
    }
    platform as_machine = normalised({.os = host.os, .architecture = std::string{parts[0]}});
    if (!known(detail::known_architectures, as_machine.architecture) || !out.os_version.empty())
        throw fail("is neither a known operating system nor a known architecture");
    return as_machine;
}

/// In Go's order of members: architecture, os, os.version, os.features, variant.
inline json to_json(platform const& what) {
    auto out = detail::empty_object();
    detail::add_member(out, "architecture", detail::json_text(what.architecture));
    detail::add_member(out, "os", detail::json_text(what.os));
    detail::add_text(out, "os.version", what.os_version);
    if (!what.os_features.empty())
        detail::add_member(out, "os.features", detail::json_texts(what.os_features));
    detail::add_text(out, "variant", what.variant);
    return out;
}

/// Reads the "platform" of a descriptor; architecture and os must be there. Throws format_error.
inline platform read_platform(json_node const& node) {
    platform out;
    out.architecture = node["architecture"].text();
    out.os = node["os"].text();
    out.variant = node.text_of("variant");
    out.os_version = node.text_of("os.version");
    out.os_features = node["os.features"].texts();
    return out;
}

} // namespace shiplap

// === shiplap/export/attributes.hpp ===

// attributes: "type=oci,dest=app.tar,"name=a,b"" -> an ordered list of keys and values, each with its place.
//
// The grammar is one CSV record (RFC 4180): fields are parted by commas; a field that holds a comma or a
// quote is quoted as a whole, and a quote in it is doubled. Every field is key=value, parted at its first
// '='. Keys are lower-cased and trimmed, values are untouched. In "annotation.Some.Key" only what stands
// before the first dot is the option's name: the annotation's own key keeps its case.

namespace shiplap {

struct attribute {
    std::string key;
    std::string value;
    std::size_t position = 0; ///< column of the field in the text, from 1
};

using attributes = std::vector<attribute>;

namespace detail {

[[noreturn]] inline void refuse_csv(std::string_view text, std::size_t index, std::string_view reason) {
    throw option_error{"parse", std::string{text},
                       "position " + std::to_string(index + 1) + ": " + std::string{reason}};
}

/// One field, from `index` on, which is left at the comma behind it or at the end.
inline std::string csv_field(std::string_view text, std::size_t& index) {
    std::string field;
    if (index == text.size() || text[index] != '"') {
        auto const start = index;
        while (index < text.size() && text[index] != ',') {
            if (text[index] == '"')
                refuse_csv(
                    text, index,
                    "a quote inside an unquoted field; quote the whole field and double the quotes in it: "
                    "\"key=a \"\"b\"\"\"");
            ++index;
        }
        return std::string{text.substr(start, index - start)};
    }
    auto const opening = index++;
    for (;; ++index) {
        if (index == text.size()) refuse_csv(text, opening, "this quote is never closed");
        if (text[index] != '"') {
            field += text[index];
        } else if (index + 1 < text.size() && text[index + 1] == '"') {
            field += text[index++];
        } else {
            break;
        }
    }
    if (++index < text.size() && text[index] != ',')
        refuse_csv(text, index,
                   "text after a closing quote; a comma must follow, and a quote in a value is doubled");
    return field;
}

inline std::string option_key(std::string_view key) {
    auto const first = key.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    key = key.substr(first, key.find_last_not_of(" \t") - first + 1);
    auto lowered = lower_case(key);
    if (!lowered.starts_with("annotation")) return lowered;
    auto const dot = key.find('.');
    return dot == std::string_view::npos ? lowered : lowered.substr(0, dot) + std::string{key.substr(dot)};
}

} // namespace detail

/// Parses an option string. Throws option_error, with the position in the text, on anything outside the
/// grammar.
inline attributes parse_attributes(std::string_view text) {
    if (text.ends_with('\n')) text.remove_suffix(1);
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.empty())
        throw option_error{"parse", "", "an empty option string; expected type=...,key=value,..."};

    attributes out;
    for (std::size_t index = 0;; ++index) {
        auto const start = index;
        auto const field = detail::csv_field(text, index);
        auto const equals = field.find('=');
        if (equals == std::string::npos)
            detail::refuse_csv(text, start,
                               "invalid value " + printable(field) +
                                   "; expected key=value, and a value with a comma quoted with its key: "
                                   "\"name=a,b\"");
        auto key = detail::option_key(std::string_view{field}.substr(0, equals));
        if (key.empty()) detail::refuse_csv(text, start, "no key before '='");
        out.push_back({std::move(key), field.substr(equals + 1), start + 1});
        if (index >= text.size()) return out;
    }
}

} // namespace shiplap

// === shiplap/image/media_types.hpp ===

// media types: the two families of names, each a constexpr table. One image uses one family throughout.
//
//   expression               meaning
//   M::index                 media type of an index (Docker: manifest list)
//   M::manifest, M::config   of an image manifest and its configuration
//   M::layer(encoding)       of a layer in this encoding ("", "gzip", "zstd"); empty if there is none
//   M::layer_annotations     whether layer descriptors may carry annotations
//
// Sources: image-spec, media-types.md; Docker's "Image Manifest Version 2, Schema 2". Docker's zstd type is
// not in Docker's specification: containerd reads it, skopeo refuses it.
//
// To name the layers of a codec of your own, inherit a table and override layer(); examples/06_own_codec.cpp
// does.

namespace shiplap {

template <class M>
concept media_types = requires(std::string_view encoding) {
    { M::index } -> std::convertible_to<std::string_view>;
    { M::manifest } -> std::convertible_to<std::string_view>;
    { M::config } -> std::convertible_to<std::string_view>;
    { M::layer(encoding) } -> std::convertible_to<std::string_view>;
    { M::layer_annotations } -> std::convertible_to<bool>;
};

struct oci_media_types {
    static constexpr std::string_view name = "oci";
    static constexpr std::string_view index = "application/vnd.oci.image.index.v1+json";
    static constexpr std::string_view manifest = "application/vnd.oci.image.manifest.v1+json";
    static constexpr std::string_view config = "application/vnd.oci.image.config.v1+json";
    static constexpr bool layer_annotations = true;

    static constexpr std::string_view layer(std::string_view encoding) noexcept {
        if (encoding.empty()) return "application/vnd.oci.image.layer.v1.tar";
        if (encoding == "gzip") return "application/vnd.oci.image.layer.v1.tar+gzip";
        if (encoding == "zstd") return "application/vnd.oci.image.layer.v1.tar+zstd";
        return {};
    }
};

struct docker_media_types {
    static constexpr std::string_view name = "docker";
    static constexpr std::string_view index = "application/vnd.docker.distribution.manifest.list.v2+json";
    static constexpr std::string_view manifest = "application/vnd.docker.distribution.manifest.v2+json";
    static constexpr std::string_view config = "application/vnd.docker.container.image.v1+json";
    static constexpr bool layer_annotations = false;

    static constexpr std::string_view layer(std::string_view encoding) noexcept {
        if (encoding.empty()) return "application/vnd.docker.image.rootfs.diff.tar";
        if (encoding == "gzip") return "application/vnd.docker.image.rootfs.diff.tar.gzip";
        if (encoding == "zstd") return "application/vnd.docker.image.rootfs.diff.tar.zstd";
        return {};
    }
};

/// A table as a value, for code that decides the family at run time.
struct media_type_table {
    std::string_view index, manifest, config;
    std::string_view (*layer)(std::string_view encoding);
    bool layer_annotations;
};

template <media_types M>
inline constexpr media_type_table table_of{
    M::index, M::manifest, M::config,
    [](std::string_view encoding) { return std::string_view{M::layer(encoding)}; }, M::layer_annotations};

/// Whether `text` is a media type without parameters: type "/" subtype, each a restricted-name of RFC 6838,
/// section 4.2.
constexpr bool is_media_type(std::string_view text) noexcept {
    constexpr std::string_view alphanumeric =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    constexpr std::string_view marks = "!#$&^_.+-";
    auto const restricted_name = [=](std::string_view name) {
        if (name.empty() || name.size() > 127 || alphanumeric.find(name[0]) == name.npos) return false;
        for (char const c : name)
            if (alphanumeric.find(c) == name.npos && marks.find(c) == name.npos) return false;
        return true;
    };
    auto const slash = text.find('/');
    return slash != text.npos && restricted_name(text.substr(0, slash)) &&
           restricted_name(text.substr(slash + 1));
}

/// Whether a document of this media type lists manifests, in either family.
constexpr bool is_index_type(std::string_view media_type) noexcept {
    return media_type == oci_media_types::index || media_type == docker_media_types::index;
}

/// Whether a document of this media type is the manifest of one image or artifact, in either family.
constexpr bool is_manifest_type(std::string_view media_type) noexcept {
    return media_type == oci_media_types::manifest || media_type == docker_media_types::manifest;
}

namespace detail {

/// Layers that may be named without being there (image-spec, media-types.md; Docker's schema 2).
constexpr bool is_foreign_layer(std::string_view media_type) noexcept {
    return media_type.find(".nondistributable.") != media_type.npos ||
           media_type.find(".foreign.") != media_type.npos;
}

} // namespace detail

/// The media type of a non-distributable layer in a manifest of type `manifest` (image-spec, layer.md,
/// "Non-Distributable Layers"); Docker has none for zstd and gets OCI's.
inline std::string foreign_layer_type(std::string_view manifest, std::string_view encoding) {
    if (manifest == docker_media_types::manifest && encoding != "zstd")
        return "application/vnd.docker.image.rootfs.foreign.diff.tar" +
               (encoding.empty() ? "" : "." + std::string{encoding});
    return "application/vnd.oci.image.layer.nondistributable.v1.tar" +
           (encoding.empty() ? "" : "+" + std::string{encoding});
}

/// The encoding of a layer of this media type, in either family: "", "gzip" or "zstd". Non-distributable
/// layers count too (image-spec, layer.md, "Non-Distributable Layers"). Throws error{unsupported} for
/// anything else.
inline std::string_view layer_encoding(std::string_view media_type) {
    for (std::string_view const encoding : {"", "gzip", "zstd"})
        if (media_type == oci_media_types::layer(encoding) ||
            media_type == docker_media_types::layer(encoding))
            return encoding;
    for (std::string_view const base : {"application/vnd.oci.image.layer.nondistributable.v1.tar",
                                        "application/vnd.docker.image.rootfs.foreign.diff.tar"}) {
        if (!media_type.starts_with(base)) continue;
        auto const suffix = media_type.substr(base.size());
        if (suffix.empty()) return "";
        if (suffix == "+gzip" || suffix == ".gzip") return "gzip";
        if (suffix == "+zstd") return "zstd";
    }
    throw error{error_code::unsupported, "read layer", std::string{media_type},
                "is no media type of a layer in tar, gzip or zstd"};
}

} // namespace shiplap

// === shiplap/image/descriptor.hpp ===

// descriptor: the one currency. Every write yields one, every copy is driven by one (image-spec,
// descriptor.md).

namespace shiplap {

struct descriptor {
    std::string media_type;
    shiplap::digest digest;
    std::uint64_t size = 0; ///< bytes
    annotation_map annotations{};
    std::vector<std::string> urls{};
    std::optional<shiplap::platform> platform{};
    std::string artifact_type{};
    std::string data{}; ///< the content itself as base64, or empty
    friend bool operator==(descriptor const&, descriptor const&) = default;
};

/// Whether it is of a manifest or an index: small, and naming other content.
inline bool is_document(descriptor const& what) noexcept {
    return is_manifest_type(what.media_type) || is_index_type(what.media_type);
}

/// Decodes RFC 4648 base64 with padding; none if `text` is anything else.
inline std::optional<std::string> decode_base64(std::string_view text) {
    static constexpr std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (text.size() % 4 != 0) return std::nullopt;
    auto const padding = text.ends_with("==") ? 2u : text.ends_with('=') ? 1u : 0u;
    text.remove_suffix(padding);

    std::string out;
    std::uint32_t bits = 0;
    unsigned held = 0; // of `bits`, those that are not yet in `out`
    for (char const c : text) {
        auto const value = alphabet.find(c);
        if (value == alphabet.npos) return std::nullopt;
        bits = bits << 6 | static_cast<std::uint32_t>(value);
        held += 6;
        if (held < 8) continue;
        held -= 8;
        out += static_cast<char>(static_cast<unsigned char>(bits >> held & 0xff));
    }
    if ((bits & ((1u << held) - 1)) != 0) return std::nullopt; // two texts for the same bytes
    return out;
}

namespace detail {

inline json to_json(annotation_map const& annotations) {
    auto out = empty_object();
    for (auto const& [key, value] : annotations) add_member(out, key, json_text(value));
    return out;
}

/// Reads the optional member "annotations" of `owner`.
inline annotation_map read_annotations(json_node const& owner) {
    annotation_map out;
    auto const node = owner["annotations"];
    if (!node) return out;
    for (auto const& [key, value] : node.object()) {
        if (!value.is_string()) node.refuse("the value of \"" + key + "\" must be a string");
        out.emplace(key, *value.get_ptr<json::string_t const*>());
    }
    return out;
}

inline std::string read_media_type(json_node const& node) {
    if (!is_media_type(node.text())) node.refuse("must be a media type, as in application/json (RFC 6838)");
    return node.text();
}

inline digest read_digest(json_node const& node) {
    try {
        return digest::parse(node.text());
    } catch (format_error const& wrong) {
        node.refuse(wrong.reason());
    }
}

} // namespace detail

/// In Go's order of members: mediaType, digest, size, urls, annotations, data, platform, artifactType; what
/// is empty is left out.
inline json to_json(descriptor const& what) {
    auto out = detail::empty_object();
    detail::add_member(out, "mediaType", detail::json_text(what.media_type));
    detail::add_member(out, "digest", detail::json_text(what.digest.text()));
    detail::add_member(out, "size", detail::json_number(what.size));
    if (!what.urls.empty()) detail::add_member(out, "urls", detail::json_texts(what.urls));
    if (!what.annotations.empty()) detail::add_member(out, "annotations", detail::to_json(what.annotations));
    detail::add_text(out, "data", what.data);
    if (what.platform) detail::add_member(out, "platform", to_json(*what.platform));
    detail::add_text(out, "artifactType", what.artifact_type);
    return out;
}

/// Reads a descriptor and checks all of it: the grammars of media type and digest, a size from 0 to 2^63-1,
/// and that embedded data are the bytes that digest and size promise. Throws format_error.
inline descriptor read_descriptor(json_node const& node) {
    descriptor out{.media_type = detail::read_media_type(node["mediaType"]),
                   .digest = detail::read_digest(node["digest"]),
                   .size = node["size"].integer(),
                   .annotations = detail::read_annotations(node)};
    out.urls = node["urls"].texts();
    if (auto const where = node["platform"]) out.platform = read_platform(where);
    if (!node.text_of("artifactType").empty())
        out.artifact_type = detail::read_media_type(node["artifactType"]);

    out.data = node.text_of("data");
    if (!out.data.empty()) {
        auto const bytes = decode_base64(out.data);
        if (!bytes) node["data"].refuse("must be base64 with padding (RFC 4648)");
        if (bytes->size() != out.size)
            node["data"].refuse("has " + std::to_string(bytes->size()) + " bytes, \"size\" says " +
                                std::to_string(out.size));
        try {
            verify(as_bytes(*bytes), out.digest);
        } catch (digest_mismatch const& wrong) {
            node["data"].refuse("does not match \"digest\": " + wrong.reason());
        }
    }
    return out;
}

} // namespace shiplap

// === shiplap/image/layer_blob.hpp ===

// layer_blob: all that an image needs to know about a layer that is packed: what pack() returns and what
// assemble() takes.

namespace shiplap {

struct layer_blob {
    content_facts blob;           ///< digest and size of the bytes as they are stored and sent
    digest diff_id;               ///< digest of the uncompressed tar (image-spec, config.md, "Layer DiffID")
    std::string encoding{};       ///< of the blob: "", "gzip", "zstd"; see codec
    annotation_map annotations{}; ///< for its descriptor
    std::string created_by{};     ///< for the history; empty: "created by shiplap"
    std::optional<timestamp> created{}; ///< for the history; none: the time of the export
    bool distributable = true;          ///< false for a layer that registries do not take (layer.md)
    std::vector<std::string> urls{};    ///< where else the blob can be had
    bool only_named = false;            ///< not to be had here: stays where `urls` say
    bool is_remote = false;             ///< reading the blob is a download
};

} // namespace shiplap

// === shiplap/image/rfc3339.hpp ===

// Times in documents: RFC 3339, as Go reads and writes them. "2019-01-01T00:00:00.5Z": whole seconds and a
// fraction without zeros at its end; "Z" for UTC, otherwise the offset that the time came with.

namespace shiplap {

/// A point in time and the clock on which it was read. The offset changes only how it is written.
struct zoned_time {
    timestamp at{};
    std::int32_t offset = 0; ///< minutes east of UTC, -1439..1439
    friend bool operator==(zoned_time const&, zoned_time const&) = default;
};

namespace detail {

/// Exactly `count` digits at the front of `text`, which are removed; none if there are fewer.
constexpr std::optional<unsigned> take_digits(std::string_view& text, std::size_t count) noexcept {
    if (text.size() < count) return std::nullopt;
    unsigned value = 0;
    for (char const c : text.substr(0, count)) {
        if (c < '0' || '9' < c) return std::nullopt;
        value = 10 * value + static_cast<unsigned>(c - '0');
    }
    text.remove_prefix(count);
    return value;
}

constexpr bool take_char(std::string_view& text, char expected) noexcept {
    if (!text.starts_with(expected)) return false;
    text.remove_prefix(1);
    return true;
}

inline std::string two_digits(unsigned value) {
    return {static_cast<char>('0' + value / 10 % 10), static_cast<char>('0' + value % 10)};
}

} // namespace detail

/// Reads a time of the years 0001 to 9999; digits after the ninth of a fraction are dropped. None if `text`
/// is anything else: another separator than 'T', lower case, a second 60, a day that the month does not have.
inline std::optional<zoned_time> parse_rfc3339(std::string_view text) {
    using detail::take_char;
    using detail::take_digits;
    auto const year = take_digits(text, 4);
    if (!year || *year == 0 || !take_char(text, '-')) return std::nullopt;
    auto const month = take_digits(text, 2);
    if (!month || !take_char(text, '-')) return std::nullopt;
    auto const day = take_digits(text, 2);
    if (!day || !take_char(text, 'T')) return std::nullopt;
    auto const hour = take_digits(text, 2);
    if (!hour || *hour > 23 || !take_char(text, ':')) return std::nullopt;
    auto const minute = take_digits(text, 2);
    if (!minute || *minute > 59 || !take_char(text, ':')) return std::nullopt;
    auto const second = take_digits(text, 2);
    if (!second || *second > 59) return std::nullopt;

    std::int32_t nanoseconds = 0;
    if (take_char(text, '.')) {
        std::int32_t unit = 100'000'000;
        if (text.empty() || text[0] < '0' || '9' < text[0]) return std::nullopt;
        while (auto const digit = take_digits(text, 1)) {
            nanoseconds += static_cast<std::int32_t>(*digit) * unit;
            unit /= 10;
        }
    }

    std::int32_t offset = 0;
    if (!take_char(text, 'Z')) {
        bool const west = text.starts_with('-');
        if (!take_char(text, west ? '-' : '+')) return std::nullopt;
        auto const hours = take_digits(text, 2);
        if (!hours || *hours > 23 || !take_char(text, ':')) return std::nullopt;
        auto const minutes = take_digits(text, 2);
        if (!minutes || *minutes > 59) return std::nullopt;
        offset = static_cast<std::int32_t>(*hours * 60 + *minutes) * (west ? -1 : 1);
    }
    if (!text.empty()) return std::nullopt;

    std::chrono::year_month_day const date{std::chrono::year{static_cast<int>(*year)},
                                           std::chrono::month{*month}, std::chrono::day{*day}};
    if (!date.ok()) return std::nullopt;
    std::int64_t const days = std::chrono::sys_days{date}.time_since_epoch().count();
    std::int64_t const seconds = days * 86400 + *hour * 3600 + *minute * 60 + *second - offset * 60;
    return zoned_time{{seconds, nanoseconds}, offset};
}

/// The first and the last second, in UTC, that can be written: of the years 0001 and 9999.
inline constexpr timestamp first_rfc3339{-62135596800, 0}, last_rfc3339{253402300799, 0};

/// Writes a time on its own clock. Throws error{unsupported} outside the years 0001 to 9999.
inline std::string format_rfc3339(zoned_time time) {
    constexpr auto first = first_rfc3339.seconds, last = last_rfc3339.seconds;
    auto const fail = [&] {
        return error{error_code::unsupported, "write time", std::to_string(time.at.seconds),
                     "seconds since 1970 that lie outside the years 0001 to 9999"};
    };
    if (time.at.seconds < first - 86400 || last + 86400 < time.at.seconds)
        throw fail(); // lest a sum overflow
    std::int64_t const local = time.at.seconds + time.offset * 60;
    if (local < first || last < local) throw fail();

    std::int64_t const days = (local >= 0 ? local : local - 86399) / 86400;
    auto const in_day = static_cast<unsigned>(local - days * 86400);
    std::chrono::year_month_day const date{
        std::chrono::sys_days{std::chrono::days{static_cast<std::chrono::days::rep>(days)}}};
    auto const year = static_cast<unsigned>(static_cast<int>(date.year()));

    using detail::two_digits;
    auto out = two_digits(year / 100) + two_digits(year) + "-" +
               two_digits(static_cast<unsigned>(date.month())) + "-" +
               two_digits(static_cast<unsigned>(date.day())) + "T" + two_digits(in_day / 3600) + ":" +
               two_digits(in_day / 60 % 60) + ":" + two_digits(in_day % 60);
    if (time.at.nanoseconds != 0) {
        auto fraction = std::to_string(1'000'000'000 + time.at.nanoseconds);
        fraction.erase(fraction.find_last_not_of('0') + 1);
        out += "." + fraction.substr(1);
    }
    if (time.offset == 0) return out + "Z";
    auto const minutes = static_cast<unsigned>(time.offset < 0 ? -time.offset : time.offset);
    return out + (time.offset < 0 ? "-" : "+") + two_digits(minutes / 60) + ":" + two_digits(minutes % 60);
}

/// Writes a time in UTC.
inline std::string format_rfc3339(timestamp time) {
    return format_rfc3339(zoned_time{time, 0});
}

} // namespace shiplap

// === shiplap/image/history.hpp ===

// history: how an image came to be, one entry for each layer and for each step that changed only the
// configuration (image-spec, config.md, "history").
//
// The number of entries without `empty_layer` must be the number of layers, and every entry should have a
// time. A history that was given with a configuration rarely fits: normalise_history() repairs it by the
// rules of BuildKit's exporters, so that the same input gives the same configuration to the byte.

namespace shiplap {

struct history_entry {
    std::optional<zoned_time> created{};
    std::string created_by{}, author{}, comment{};
    bool empty_layer = false; ///< the step made no layer
    friend bool operator==(history_entry const&, history_entry const&) = default;
};

namespace detail {

/// Reads an optional time.
inline std::optional<zoned_time> read_time(json_node const& node) {
    if (!node) return std::nullopt;
    auto const time = parse_rfc3339(node.text());
    if (!time) node.refuse("must be a time as in 2006-01-02T15:04:05Z (RFC 3339)");
    return time;
}

} // namespace detail

/// Reads the "history" of a configuration. Throws format_error.
inline std::vector<history_entry> read_history(json_node const& node) {
    std::vector<history_entry> out;
    for (std::size_t i = 0; i < node.length(); ++i) {
        auto const item = node.item(i);
        auto const empty = item["empty_layer"];
        out.push_back({.created = detail::read_time(item["created"]),
                       .created_by = item.text_of("created_by"),
                       .author = item.text_of("author"),
                       .comment = item.text_of("comment"),
                       .empty_layer = empty && empty.boolean()});
    }
    return out;
}

/// In Go's order of members; what is empty or false is left out.
inline json to_json(std::vector<history_entry> const& history) {
    auto out = detail::empty_array();
    for (auto const& entry : history) {
        auto item = detail::empty_object();
        if (entry.created) detail::add_text(item, "created", format_rfc3339(*entry.created));
        detail::add_text(item, "created_by", entry.created_by);
        detail::add_text(item, "author", entry.author);
        detail::add_text(item, "comment", entry.comment);
        if (entry.empty_layer)
            detail::add_member(item, "empty_layer", detail::json_scalar(json::value_t::boolean, true));
        detail::add_item(out, std::move(item));
    }
    return out;
}

/// Makes `history` fit `layers` (bottom first) and gives every entry a time; `now` is the time of layers that
/// have none. A history that speaks of too many layers gets a sentence in `warnings`.
inline void normalise_history(std::vector<history_entry>& history, std::span<layer_blob const> layers,
                              timestamp now, std::vector<std::string>& warnings) {
    auto const time_of = [&](layer_blob const& layer) { return zoned_time{layer.created.value_or(now), 0}; };
    auto const known = static_cast<std::size_t>(
        std::count_if(history.begin(), history.end(), [](auto const& entry) { return !entry.empty_layer; }));

    if (known > layers.size()) {
        warnings.push_back("the history of the image configuration has " + std::to_string(known) +
                           " entries with a layer, the image has " + std::to_string(layers.size()) +
                           " layers; the entries beyond them are marked as empty");
        std::size_t seen = 0;
        for (auto& entry : history)
            if (!entry.empty_layer && ++seen > layers.size()) entry.empty_layer = true;
    }
    for (auto i = known; i < layers.size(); ++i)
        history.push_back(
            {.created = time_of(layers[i]),
             .created_by = layers[i].created_by.empty() ? "created by shiplap" : layers[i].created_by,
             .comment = "shiplap.exporter.image.v0"});

    auto layer = layers.begin();
    for (auto& entry : history) {
        if (entry.empty_layer) continue;
        if (!entry.created) entry.created = time_of(*layer);
        ++layer;
    }

    // What is left without a time are steps without a layer. They get the time of the first step that has one
    // after the first that has none (in an image on top of a base: not a time of the base), or else the last
    // time there is; from then on the time of the step before.
    std::optional<zoned_time> time;
    bool gap = false;
    for (auto const& entry : history) {
        if (!entry.created) {
            gap = true;
            continue;
        }
        time = entry.created;
        if (gap) break;
    }
    gap = false;
    for (auto& entry : history) {
        if (!entry.created) {
            gap = true;
            entry.created = time;
        } else if (gap) {
            time = entry.created;
        }
    }
}

/// Gives entries without a time, or with one after `epoch` (seconds since 1970), that time
/// (https://reproducible-builds.org/specs/source-date-epoch). What is still as in `base`, in the same place,
/// stays: a base image was made when it was made.
inline void clamp_history(std::vector<history_entry>& history, std::int64_t epoch,
                          std::span<history_entry const> base = {}) {
    timestamp const limit{epoch, 0};
    for (std::size_t i = 0; i < history.size(); ++i) {
        auto& created = history[i].created;
        bool const inherited = i < base.size() && created && history[i] == base[i];
        if (!inherited && (!created || created->at > limit)) created = zoned_time{limit, 0};
    }
}

} // namespace shiplap

// === shiplap/image/config.hpp ===

// config: the document that tells how to run an image and what its layers unpack to (image-spec, config.md).
//
// A configuration is text in and text out. Its owner may have put anything in it, and all of that stays as it
// was written, to the digit and the escape sequence; only `rootfs`, `history` and `created`, which speak of
// the layers, are made anew. The result is compact with its top-level names in byte order, as BuildKit writes
// it.

namespace shiplap {

/// What shiplap reads of a configuration.
struct image_config {
    shiplap::platform platform{}; ///< as written, not normalised
    std::optional<zoned_time> created{};
    std::vector<digest> diff_ids{}; ///< of the layers, bottom first
    std::vector<history_entry> history{};
    friend bool operator==(image_config const&, image_config const&) = default;
};

namespace detail {

inline constexpr std::array<std::string_view, 10> config_names{
    "architecture", "author",      "config",     "created", "history",
    "os",           "os.features", "os.version", "rootfs",  "variant"};

/// The members of "config" in Go's order.
inline constexpr std::array<std::string_view, 13> run_config_names{
    "User",   "ExposedPorts", "Env",         "Entrypoint",  "Cmd",     "Volumes", "WorkingDir",
    "Labels", "StopSignal",   "ArgsEscaped", "Healthcheck", "OnBuild", "Shell"};

/// Refuses a member whose name differs only in case from one of `names`: Go would take it for that one.
inline void check_case(json_node const& node, std::span<std::string_view const> names) {
    std::map<std::string, std::string> right;
    for (auto const name : names) right.emplace(fold_name(name), name);
    for (auto const& [key, value] : node.object()) {
        auto const found = right.find(fold_name(key));
        if (found != right.end() && found->second != key)
            node.refuse("has a member \"" + key + "\", must be written \"" + found->second + "\"");
    }
}

/// Checks the types of all members that the specification has, and that the two indispensable ones are there.
inline void check_config(json const& document, std::string_view subject) {
    json_node const root{document, subject};
    auto const fail = [&](std::string reason) {
        throw format_error{"read image config", std::string{subject}, std::move(reason)};
    };
    auto const good = [](auto const&) {}; // reading was the check
    if (!root) fail("invalid null image config for export");
    check_case(root, config_names);
    for (auto const* name : {"os", "architecture", "variant", "os.version", "author"})
        good(root.text_of(name));
    bool const has_os = !root.text_of("os").empty(), has_architecture = !root.text_of("architecture").empty();
    if (!has_os && !has_architecture)
        fail("invalid image config for export: missing os, and missing architecture");
    if (!has_os || !has_architecture)
        fail(std::string{"invalid image config for export: missing "} + (has_os ? "architecture" : "os") +
             "; invalid image config: os and architecture must be specified together");
    good(root["os.features"].texts());
    good(read_time(root["created"]));
    good(read_history(root["history"]));

    auto const run = root["config"];
    if (!run) return;
    check_case(run, run_config_names);
    for (auto const* name : {"User", "WorkingDir", "StopSignal"}) good(run.text_of(name));
    for (auto const* name : {"Env", "Entrypoint", "Cmd"}) good(run[name].texts());
    for (auto const* name : {"ExposedPorts", "Volumes", "Labels"})
        if (auto const set = run[name]) good(set.object());
    if (auto const labels = run["Labels"])
        for (auto const& [key, value] : labels.object())
            if (!value.is_string()) labels.refuse("the value of \"" + key + "\" must be a string");
}

/// Valid JSON without the spaces between its tokens and with Go's escapes; everything else stays.
inline std::string compact_text(std::string_view valid) {
    std::string out;
    bool quoted = false;
    for (std::size_t i = 0; i < valid.size(); ++i) {
        char const c = valid[i];
        if (quoted && c == '\\') {
            out += c;
            out += valid[++i];
            continue;
        }
        if (c == '"') quoted = !quoted;
        if (quoted || (c != ' ' && c != '\t' && c != '\n' && c != '\r')) out += c;
    }
    return escape_html(out);
}

/// The members of an object that is not read further: names with the texts of their values, in byte order.
using raw_members = std::map<std::string, std::string>;

/// Cuts the text of an object, which parse_json() has accepted, into its members.
inline raw_members split_members(std::string_view valid) {
    auto const text = compact_text(valid);
    raw_members out;
    std::size_t start = 1, depth = 0, colon = 0;
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        char const c = text[i];
        if (quoted) {
            if (c == '\\') ++i;
            quoted = c != '"';
            continue;
        }
        quoted = c == '"';
        if (c == '{' || c == '[') ++depth;
        if (c == ':' && depth == 1 && colon == 0) colon = i;
        if ((c == ',' || c == '}') && depth == 1 && colon != 0) {
            auto const name = parse_json(std::string_view{text}.substr(start, colon - start), "a name");
            out.emplace(*name.get_ptr<json::string_t const*>(), text.substr(colon + 1, i - colon - 1));
            start = i + 1;
            colon = 0;
        }
        if (c == '}' || c == ']') --depth;
    }
    return out;
}

inline std::string join_members(raw_members const& members) {
    std::string out = "{";
    for (auto const& [name, value] : members) {
        if (out.size() > 1) out += ',';
        out += compact(json_text(name)) + ":" + value;
    }
    return out + "}";
}

inline json rootfs_json(std::span<digest const> diff_ids) {
    json ids(diff_ids.empty() ? json::value_t::null : json::value_t::array); // as Go writes them
    for (auto const& id : diff_ids) add_item(ids, json_text(id.text()));
    auto out = empty_object();
    add_text(out, "type", "layers");
    add_member(out, "diff_ids", std::move(ids));
    return out;
}

/// Whether the diff_ids of a configuration are those of `layers`.
inline bool is_config_of(json_node const& root, std::span<layer_blob const> layers) {
    auto const rootfs = root["rootfs"];
    if (!rootfs) return false;
    auto const ids = rootfs["diff_ids"].texts();
    return std::equal(ids.begin(), ids.end(), layers.begin(), layers.end(),
                      [](auto const& id, layer_blob const& layer) { return id == layer.diff_id.text(); });
}

} // namespace detail

/// The configuration of an image for which none is given: the platform, "/" as working directory, and a PATH
/// (not on Windows).
inline std::string default_config(platform const& where) {
    auto run = detail::empty_object();
    if (where.os != "windows")
        detail::add_member(
            run, "Env",
            detail::json_texts({"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}));
    detail::add_text(run, "WorkingDir", "/");
    auto out = to_json(where);
    detail::add_member(out, "config", std::move(run));
    detail::add_member(out, "rootfs", detail::rootfs_json({}));
    return compact(out);
}

/// The platform that a configuration is for, which need not have any layers yet. Throws format_error.
inline platform platform_of_config(std::string_view text, std::string_view subject) {
    auto const document = parse_json(text, subject);
    detail::check_config(document, subject);
    return read_platform({document, subject});
}

/// Reads the configuration of an image. Throws format_error.
inline image_config read_config(std::string_view text, std::string_view subject) {
    auto const document = parse_json(text, subject);
    detail::check_config(document, subject);
    json_node const root{document, subject};

    image_config out{.platform = read_platform(root),
                     .created = detail::read_time(root["created"]),
                     .history = read_history(root["history"])};
    auto const rootfs = root["rootfs"];
    if (rootfs["type"].text() != "layers") rootfs["type"].refuse("must be \"layers\"");
    auto const ids = rootfs["diff_ids"];
    for (std::size_t i = 0; i < ids.length(); ++i) out.diff_ids.push_back(detail::read_digest(ids.item(i)));
    return out;
}

/// What an image with more layers inherits from the configuration of its base: all that image-spec knows but
/// `created`. The rest speaks of how the base was built, as Docker's "container_config" does, and BuildKit
/// drops it too.
inline std::string inherited_config(std::string_view base, std::string_view subject) {
    auto const document = parse_json(base, subject);
    detail::check_config(document, subject);
    auto members = detail::split_members(base);
    std::erase_if(members, [](auto const& member) {
        auto const& names = detail::config_names;
        return member.first == "created" ||
               std::find(names.begin(), names.end(), member.first) == names.end();
    });
    return detail::join_members(members);
}

/// Makes a configuration that fits `layers` (bottom first) out of one that was given: `rootfs` from their
/// diff_ids, `history` normalised and, with an epoch (seconds since 1970), clamped to it. `created` is
/// clamped if it is there, otherwise it is the time of the last history entry. Appends what the user should
/// know to `warnings`. `subject` names the text in messages. Throws format_error.
///
/// With the history of a base image, be it empty, the text is that of an image. No epoch changes what it has of
/// the base; and if it fits the layers already, for none was added, it stays as it is written, but for later
/// times: so does the name that Docker has for the image.
inline std::string finish_config(std::string_view text, std::string_view subject,
                                 std::span<layer_blob const> layers, timestamp now,
                                 std::optional<std::int64_t> epoch, std::vector<std::string>& warnings,
                                 std::optional<std::span<history_entry const>> base_history = {}) {
    auto const document = parse_json(text, subject);
    detail::check_config(document, subject);
    json_node const root{document, subject};

    auto const given = detail::read_time(root["created"]);
    bool const too_late = given && epoch && given->at > timestamp{*epoch, 0};
    auto history = read_history(root["history"]);
    auto base = base_history.value_or(std::span<history_entry const>{});
    auto const own = std::mismatch(history.begin(), history.end(), base.begin(), base.end()).first;
    base = base.first(static_cast<std::size_t>(own - history.begin()));
    bool const fits = base_history && detail::is_config_of(root, layers) &&
                      std::none_of(own, history.end(), [&](history_entry const& entry) {
                          return epoch && entry.created && entry.created->at > timestamp{*epoch, 0};
                      });
    if (fits && !too_late) return std::string{text};

    auto members = detail::split_members(text);
    if (too_late) members["created"] = compact(detail::json_text(format_rfc3339(timestamp{*epoch, 0})));
    if (fits) return detail::join_members(members);

    normalise_history(history, layers, now, warnings);
    if (epoch) clamp_history(history, *epoch, base);

    std::vector<digest> diff_ids;
    for (auto const& layer : layers) diff_ids.push_back(layer.diff_id);
    members["rootfs"] = compact(detail::rootfs_json(diff_ids));
    members["history"] = history.empty() && !root["history"] ? "null" : compact(to_json(history));
    if (!root.has("created")) {
        json last(nullptr);
        for (auto const& entry : history)
            if (entry.created) last = detail::json_text(format_rfc3339(*entry.created));
        members["created"] = compact(last);
    }
    return detail::join_members(members);
}

} // namespace shiplap

// === shiplap/image/config_changes.hpp ===

// config_changes: what a user asks of a configuration on top of the one that is given, with the effect that
// the instruction of a Dockerfile has.

namespace shiplap {

struct config_changes {
    std::vector<std::string> env{}; ///< "KEY=VALUE"; replaces the value of the same key, in its place
    std::optional<std::vector<std::string>> entrypoint{}; ///< also drops the Cmd that was given; {} is none
    std::optional<std::vector<std::string>> cmd{};        ///< {} is none
    annotation_map labels{};                              ///< added to those that are there
    std::string working_dir{};                            ///< absolute; empty: as it is
    std::string user{};                                   ///< "name", "uid:gid"; empty: as it is
    std::vector<std::string> exposed_ports{}; ///< "80", "80/udp", "8000-8010/tcp"; added, tcp by default
    friend bool operator==(config_changes const&, config_changes const&) = default;
};

namespace detail {

/// An object with `name` set to `value`: in its place, or where Go would write it. A null value removes it.
inline json with_member(json const& object, std::string_view name, json const& value) {
    auto const rank = [](std::string_view member) { // 0: not one of Go's
        auto const at = std::find(run_config_names.begin(), run_config_names.end(), member);
        return at == run_config_names.end() ? 0 : at - run_config_names.begin() + 1;
    };
    auto out = empty_object();
    bool done = value.is_null();
    bool there = false;
    for (auto const& [key, old] : *object.get_ptr<json::object_t const*>()) there = there || key == name;
    for (auto const& [key, old] : *object.get_ptr<json::object_t const*>()) {
        if (!done && (there ? key == name : rank(key) > rank(name))) {
            add_member(out, name, value);
            done = true;
        }
        if (key != name) add_member(out, key, old);
    }
    if (!done) add_member(out, name, value);
    return out;
}

inline json command_json(std::vector<std::string> const& words) {
    return words.empty() ? json(nullptr) : json_texts(words);
}

inline std::vector<std::string> changed_env(std::vector<std::string> env,
                                            std::vector<std::string> const& changes) {
    auto const key_of = [](std::string_view pair) { return pair.substr(0, pair.find('=')); };
    for (auto const& change : changes) {
        auto const key = key_of(change);
        if (key.empty() || key.size() == change.size())
            throw option_error{"set environment", change, "must be KEY=VALUE"};
        auto const same =
            std::find_if(env.begin(), env.end(), [&](auto const& pair) { return key_of(pair) == key; });
        if (same != env.end())
            *same = change;
        else
            env.push_back(change);
    }
    return env;
}

/// Adds to `ports` all that a text such as "80", "80/udp" or "8000-8010/tcp" names.
inline void add_ports(std::set<std::string>& ports, std::string_view text) {
    auto const fail = [&] {
        return option_error{
            "expose port", std::string{text},
            "must be PORT or PORT-PORT, from 1 to 65535, with /tcp, /udp or /sctp or without"};
    };
    auto const number = [&](std::string_view digits) {
        unsigned value = 0;
        if (digits.empty() || digits.size() > 5) throw fail();
        for (char const c : digits) {
            if (c < '0' || '9' < c) throw fail();
            value = 10 * value + static_cast<unsigned>(c - '0');
        }
        if (value == 0 || value > 65535) throw fail();
        return value;
    };
    auto const slash = text.find('/');
    auto const protocol = slash == text.npos ? "tcp" : lower_case(text.substr(slash + 1));
    if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") throw fail();
    auto const range = text.substr(0, slash);
    auto const dash = range.find('-');
    auto const first = number(range.substr(0, dash));
    auto const last = dash == range.npos ? first : number(range.substr(dash + 1));
    if (last < first) throw fail();
    for (auto port = first; port <= last; ++port) ports.insert(std::to_string(port) + "/" + protocol);
}

} // namespace detail

/// Applies changes to a configuration and returns the new text; without changes, the same text. Members that
/// the changes do not concern stay as they are. `subject` names the text in messages. Throws option_error for
/// a change that makes no sense, format_error for a text that is no configuration.
inline std::string apply_changes(std::string_view text, std::string_view subject,
                                 config_changes const& changes) {
    if (changes == config_changes{}) return std::string{text};
    auto const document = parse_json(text, subject);
    detail::check_config(document, subject);
    json_node const root{document, subject};
    auto const given = root["config"];
    json run = given ? given.value() : detail::empty_object();
    auto const set = [&](char const* name, json const& value) {
        run = detail::with_member(run, name, value);
    };

    if (!changes.user.empty()) set("User", detail::json_text(changes.user));
    if (!changes.exposed_ports.empty()) {
        std::set<std::string> ports; // in the order in which Go writes a map
        if (auto const before = json_node{run, subject}["ExposedPorts"])
            for (auto const& [port, nothing] : before.object()) ports.insert(port);
        for (auto const& port : changes.exposed_ports) detail::add_ports(ports, port);
        auto value = detail::empty_object();
        for (auto const& port : ports) detail::add_member(value, port, detail::empty_object());
        set("ExposedPorts", value);
    }
    if (!changes.env.empty())
        set("Env",
            detail::json_texts(detail::changed_env(json_node{run, subject}["Env"].texts(), changes.env)));
    if (changes.entrypoint) {
        set("Entrypoint", detail::command_json(*changes.entrypoint));
        set("Cmd", nullptr); // it was meant for the other entry point
    }
    if (changes.cmd) set("Cmd", detail::command_json(*changes.cmd));
    if (!changes.working_dir.empty()) {
        if (!changes.working_dir.starts_with('/') && root.text_of("os") != "windows")
            throw option_error{"set working directory", changes.working_dir, "must be an absolute path"};
        set("WorkingDir", detail::json_text(changes.working_dir));
    }
    if (!changes.labels.empty()) {
        auto labels = changes.labels; // wins over those that are there
        if (labels.contains("")) throw option_error{"set label", "=" + labels[""], "must be KEY=VALUE"};
        if (auto const before = json_node{run, subject}["Labels"])
            for (auto const& [key, value] : before.object())
                labels.emplace(key, *value.get_ptr<json::string_t const*>());
        set("Labels", detail::to_json(labels));
    }

    auto members = detail::split_members(text);
    members["config"] = compact(run);
    return detail::join_members(members);
}

} // namespace shiplap

// === shiplap/image/manifest.hpp ===

// manifest: one image as its configuration and its layers, bottom layer first (image-spec, manifest.md;
// Docker's "Image Manifest Version 2, Schema 2").
//
// A manifest's digest is that of its bytes: what was read is passed on as it was read, never written anew.
// to_text() is for new ones.

namespace shiplap {

struct image_manifest {
    std::string media_type; ///< of either family
    descriptor config;
    std::vector<descriptor> layers{}; ///< bottom first; the same one may occur several times
    annotation_map annotations{};
    std::string artifact_type{};         ///< what it is if not an image, or empty
    std::optional<descriptor> subject{}; ///< the manifest that this one is about
    friend bool operator==(image_manifest const&, image_manifest const&) = default;
};

namespace detail {

/// Checks what manifests and indexes have in common and returns the media type. A document without one has
/// the type under which it was found.
inline std::string read_document_type(json_node const& root, std::string_view expected,
                                      std::string_view fallback, bool (*is_type)(std::string_view)) {
    if (root.has("manifests") &&
        (root.has("layers") || root.has("config"))) // CVE-2021-41190: two readers, two images
        root.refuse("has both \"manifests\" and \"layers\" or \"config\", so it could be read as two things");
    if (root["schemaVersion"].integer() != 2) root["schemaVersion"].refuse("must be 2");

    auto const declared = root["mediaType"];
    std::string type{declared ? std::string_view{declared.text()} : expected.empty() ? fallback : expected};
    if (!is_type(type))
        root.refuse("has the media type " + type + ", must be one such as " + std::string{fallback});
    if (!expected.empty() && type != expected)
        root.refuse("has the media type " + type + ", its descriptor says " + std::string{expected});
    return type;
}

} // namespace detail

/// Reads a manifest and checks all of it. `subject` names the document in messages; `expected`, if not empty,
/// is the media type of the descriptor or the Content-Type under which it was found, and the document must
/// agree with it. Throws format_error.
inline image_manifest parse_manifest(std::string_view text, std::string_view subject,
                                     std::string_view expected = {}) {
    auto const document = parse_json(text, subject);
    json_node const root{document, subject};
    image_manifest out{
        .media_type = detail::read_document_type(root, expected, oci_media_types::manifest, is_manifest_type),
        .config = read_descriptor(root["config"]),
        .annotations = detail::read_annotations(root),
        .artifact_type = root.text_of("artifactType")};
    if (!root.has("layers")) root.refuse("must have a member \"layers\"");
    auto const layers = root["layers"]; // Go writes null for none
    for (std::size_t i = 0; i < layers.length(); ++i) out.layers.push_back(read_descriptor(layers.item(i)));
    if (auto const about = root["subject"]) out.subject = read_descriptor(about);
    return out;
}

/// The document, to the byte as Go writes it: its order of members, two spaces of indentation, no newline at
/// the end; no layers are `null`.
inline std::string to_text(image_manifest const& what) {
    auto out = detail::empty_object();
    detail::add_member(out, "schemaVersion", detail::json_number(2));
    detail::add_text(out, "mediaType", what.media_type);
    detail::add_text(out, "artifactType", what.artifact_type);
    detail::add_member(out, "config", to_json(what.config));
    json layers(what.layers.empty() ? json::value_t::null : json::value_t::array);
    for (auto const& layer : what.layers) detail::add_item(layers, to_json(layer));
    detail::add_member(out, "layers", std::move(layers));
    if (what.subject) detail::add_member(out, "subject", to_json(*what.subject));
    if (!what.annotations.empty()) detail::add_member(out, "annotations", detail::to_json(what.annotations));
    return pretty(out);
}

} // namespace shiplap

// === shiplap/image/index.hpp ===

// index: several manifests under one name, such as one for each platform (image-spec, image-index.md;
// Docker's "manifest list"). The index.json of an OCI layout has the same form.

namespace shiplap {

struct image_index {
    std::string media_type; ///< of either family
    std::vector<descriptor> manifests{};
    annotation_map annotations{};
    std::string artifact_type{};         ///< or empty
    std::optional<descriptor> subject{}; ///< the manifest that this one is about
    friend bool operator==(image_index const&, image_index const&) = default;
};

/// Reads an index and checks all of it; parameters and errors as of parse_manifest().
inline image_index parse_index(std::string_view text, std::string_view subject,
                               std::string_view expected = {}) {
    auto const document = parse_json(text, subject);
    json_node const root{document, subject};
    image_index out{.media_type =
                        detail::read_document_type(root, expected, oci_media_types::index, is_index_type),
                    .annotations = detail::read_annotations(root),
                    .artifact_type = root.text_of("artifactType")};
    if (!root.has("manifests")) root.refuse("must have a member \"manifests\"");
    auto const manifests = root["manifests"]; // umoci writes null for none
    for (std::size_t i = 0; i < manifests.length(); ++i)
        out.manifests.push_back(read_descriptor(manifests.item(i)));
    if (auto const about = root["subject"]) out.subject = read_descriptor(about);
    return out;
}

/// The document as a value, in Go's order of members; pretty() it for an index that is pushed, compact() it
/// for the index.json of a layout.
inline json to_json(image_index const& what) {
    auto out = detail::empty_object();
    detail::add_member(out, "schemaVersion", detail::json_number(2));
    detail::add_text(out, "mediaType", what.media_type);
    detail::add_text(out, "artifactType", what.artifact_type);
    auto manifests = detail::empty_array();
    for (auto const& manifest : what.manifests) detail::add_item(manifests, to_json(manifest));
    detail::add_member(out, "manifests", std::move(manifests));
    if (what.subject) detail::add_member(out, "subject", to_json(*what.subject));
    if (!what.annotations.empty()) detail::add_member(out, "annotations", detail::to_json(what.annotations));
    return out;
}

/// The document, to the byte as Go writes it: two spaces of indentation, no newline at the end.
inline std::string to_text(image_index const& what) {
    return pretty(to_json(what));
}

} // namespace shiplap

// === shiplap/image/assemble.hpp ===

// assemble: packed layers -> the documents of an image. A pure function: no store, no clock, no environment.
//
//     layers (layer_blob) --+
//     image_options --------+--> config text, manifest text, and the descriptor of each
//     media types ----------+
//
// Who calls it stores the two texts under the digests of their descriptors and passes the root on to copy().
// assemble_index() does the same one level up, for several images under one name.
//
// The bytes are those that BuildKit's exporters write for the same input, so are the digests.

namespace shiplap {

struct image_options {
    std::optional<shiplap::platform> platform{}; ///< none: that of `config`, or else the host's
    std::optional<std::string> config{};         ///< JSON text; none: default_config()
    config_changes changes{};
    annotation_map annotations{};            ///< inside the manifest
    annotation_map descriptor_annotations{}; ///< on the descriptor of the manifest
    std::optional<std::int64_t> epoch{};     ///< latest time in the configuration, seconds since 1970
    timestamp now{};                         ///< time of layers that have none
    /// `config` is that of an image, with this history of its base, which no epoch changes. As long as it fits
    /// the layers, it stays to the byte.
    std::optional<std::vector<history_entry>> base_history{};
    std::optional<shiplap::platform> indexed_as{}; ///< on the descriptor, as it is; none: that of `config`
};

/// The documents of one image.
struct assembled_image {
    std::string config, manifest;
    descriptor config_descriptor;
    descriptor root; ///< of the manifest, with the platform
    std::vector<std::string> warnings;
};

/// The document of several images.
struct assembled_index {
    std::string index;
    descriptor root;
};

namespace detail {

using digest_function = digest (*)(bytes_view);

inline descriptor describe(std::string_view media_type, std::string_view text, digest_function digest_of) {
    return {.media_type = std::string{media_type}, .digest = digest_of(as_bytes(text)), .size = text.size()};
}

/// The platform of the image: that of the configuration. Asking for another one is an error, since an index
/// would promise what the configuration denies.
inline platform checked_platform(std::string_view config, std::optional<platform> const& asked) {
    auto found = normalised(platform_of_config(config, "image configuration"));
    if (asked && format(normalised(*asked)) != format(found))
        throw option_error{"assemble image", format(*asked),
                           "the image configuration is for the platform " + format(found)};
    return found;
}

inline std::string layer_type(layer_blob const& layer, media_type_table const& table) {
    return layer.distributable ? std::string{table.layer(layer.encoding)}
                               : foreign_layer_type(table.manifest, layer.encoding);
}

/// All of assemble() that does not depend on the digest algorithm.
inline assembled_image assemble_with(digest_function digest_of, std::span<layer_blob const> layers,
                                     image_options const& options, media_type_table const& table) {
    constexpr std::string_view subject = "image configuration";
    auto const given = options.config
                           ? *options.config
                           : default_config(normalised(options.platform.value_or(host_platform())));
    std::vector<std::string> warnings;
    auto config = finish_config(apply_changes(given, subject, options.changes), subject, layers, options.now,
                                options.epoch, warnings, options.base_history);
    auto config_descriptor = describe(table.config, config, digest_of);

    image_manifest manifest{.media_type = std::string{table.manifest},
                            .config = config_descriptor,
                            .annotations = options.annotations};
    for (auto const& layer : layers) {
        auto const media_type = layer_type(layer, table);
        if (media_type.empty())
            throw error{error_code::unsupported, "assemble image", layer.encoding,
                        "the family of " + std::string{table.manifest} +
                            " has no media type for a layer in this encoding"};
        manifest.layers.push_back(
            {.media_type = media_type,
             .digest = layer.blob.digest,
             .size = layer.blob.size,
             .annotations = table.layer_annotations ? layer.annotations : annotation_map{},
             .urls = layer.urls});
    }
    auto text = to_text(manifest);
    auto root = describe(table.manifest, text, digest_of);
    root.annotations = options.descriptor_annotations;
    root.platform = checked_platform(config, options.platform);
    if (options.indexed_as) root.platform = options.indexed_as;
    return {std::move(config), std::move(text), std::move(config_descriptor), std::move(root),
            std::move(warnings)};
}

} // namespace detail

/// Makes the configuration and the manifest of an image out of its layers, bottom first. Throws option_error
/// for options that contradict each other, format_error for a configuration that is none, error{unsupported}
/// for a layer that the media types have no name for.
template <digest_algorithm D>
assembled_image assemble(std::span<layer_blob const> layers, image_options const& options,
                         media_type_table const& table) {
    return detail::assemble_with(&digest::of<D>, layers, options, table);
}

/// Makes the index of several images (the `root` of each, in this order).
template <digest_algorithm D>
assembled_index assemble_index(std::span<descriptor const> images, annotation_map annotations,
                               annotation_map descriptor_annotations, media_type_table const& table) {
    auto text = to_text(image_index{.media_type = std::string{table.index},
                                    .manifests = {images.begin(), images.end()},
                                    .annotations = std::move(annotations)});
    auto root = detail::describe(table.index, text, &digest::of<D>);
    root.annotations = std::move(descriptor_annotations);
    return {std::move(text), std::move(root)};
}

} // namespace shiplap

// === shiplap/tar/timestamps.hpp ===

// Timestamp policies: entry time -> entry time, a pure function. Applied to the mtime of every entry that is
// packed, whiteouts excepted (theirs is 0). Models: keep_timestamps, clamp_timestamps.
//
// A policy that takes notes of the entries has a member rule(), a timestamps_ref to the bare function, for the
// other times that an archive holds.

namespace shiplap {

template <class P>
concept timestamp_policy = requires(P const& policy, timestamp time) {
    { policy(time) } -> std::same_as<timestamp>;
};

/// A policy that can tell beforehand that it changes nothing, so that an archive may pass unparsed.
template <class P>
concept tells_if_it_keeps = timestamp_policy<P> && requires(P const& policy) {
    { policy.keeps() } -> std::same_as<bool>;
};

/// A policy that lets no time pass that is later than a limit. Layers packed under it are annotated with the limit.
template <class P>
concept limits_times = timestamp_policy<P> && requires(P const& policy) {
    { policy.latest() } -> std::same_as<std::optional<timestamp>>;
};

/// Entries keep the time that their source has.
struct keep_timestamps {
    timestamp operator()(timestamp time) const noexcept { return time; }
    static constexpr bool keeps() noexcept { return true; }
};

/// Times later than `epoch` become `epoch`; earlier ones stay
/// (https://reproducible-builds.org/specs/source-date-epoch).
struct clamp_timestamps {
    timestamp epoch;
    timestamp operator()(timestamp time) const noexcept { return time > epoch ? epoch : time; }
    [[nodiscard]] std::optional<timestamp> latest() const noexcept { return epoch; }
};

/// A reference to any timestamp_policy. Default: keeps times.
class timestamps_ref {
  public:
    timestamps_ref() noexcept
        : object_{nullptr},
          call_{[](void const*, timestamp time) { return time; }},
          rule_call_{call_},
          keeps_{true} {}

    template <timestamp_policy P>
        requires(!std::same_as<std::remove_cv_t<P>, timestamps_ref>)
    timestamps_ref(P const& policy)
    noexcept // NOLINT(google-explicit-constructor): a reference, as P const& would be
        : object_{&policy},
          call_{[](void const* object, timestamp time) { return (*static_cast<P const*>(object))(time); }} {
        if constexpr (tells_if_it_keeps<P>) keeps_ = policy.keeps();
        if constexpr (limits_times<P>) latest_ = policy.latest();
        rule_object_ = object_;
        rule_call_ = call_;
        if constexpr (requires { policy.rule(); }) {
            timestamps_ref const rule = policy.rule();
            rule_object_ = rule.object_;
            rule_call_ = rule.call_;
        }
    }

    timestamp operator()(timestamp time) const { return call_(object_, time); }
    /// True if it is known that every time stays as it is.
    [[nodiscard]] bool keeps() const noexcept { return keeps_; }
    /// The same function, for times that are not an entry's mtime: nobody takes note of them.
    [[nodiscard]] timestamps_ref rule() const noexcept {
        auto bare = *this;
        bare.object_ = rule_object_;
        bare.call_ = rule_call_;
        return bare;
    }
    /// The limit of a policy that has one.
    [[nodiscard]] std::optional<timestamp> latest() const noexcept { return latest_; }

  private:
    void const* object_;
    timestamp (*call_)(void const*, timestamp);
    void const* rule_object_ = nullptr;
    timestamp (*rule_call_)(void const*, timestamp) = nullptr;
    bool keeps_ = false;
    std::optional<timestamp> latest_;
};

} // namespace shiplap

// === shiplap/layer/concept.hpp ===

// layer: where the content of a layer comes from. A layer_source writes an uncompressed tar into any
// byte_sink.
//
//   concept          expression                   meaning
//   layer_source     l.write_tar(out, context)    the whole tar, end blocks included, in order; the same
//                                                 bytes for the same content. Throws, and the layer is
//                                                 never published, when the source changes meanwhile
//                    l.description() -> string    for messages and progress: "dir:app"
//
//   refinement       expression                   meaning
//   sized_layer      l.estimated_size() -> n      about how many bytes write_tar() will write, 0 where that
//                                                 is not known; costs no reading
//   stored_layer     l.stored() -> layer_blob     already packed: used as it is, not packed again
//                    l.reader() -> r              its bytes, a replayable_source
//   quick_layer      l.unverified_reader() -> r   the same for who verifies digest and size anyway
//
// Exemplar, compiled in tests/layer/concept.cpp:
//
//     struct empty_layer {
//         void write_tar(byte_sink auto& out, layer_context const&) const { tar_writer{out}.finish(); }
//         std::string description() const { return "empty"; }
//     };
//
// Models: directory_layer, diff_layer, tar_layer; existing_blob (a stored_layer); any_layer_source.

namespace shiplap {

/// How BuildKit marks a layer in which no time is later than this one, in seconds since 1970: who sees the mark
/// need not rewrite it again.
inline constexpr char rewritten_annotation[] = "buildkit/rewritten-timestamp";

/// What the surroundings lend to a layer source.
struct layer_context {
    timestamps_ref time;   ///< applied to the mtime of every entry
    progress_ref progress; ///< hears warnings, such as a skipped socket
};

template <class L>
concept describes_itself = requires(L const& layer) {
    { layer.description() } -> std::convertible_to<std::string>;
};

template <class L>
concept writes_tar = requires(L const& layer, null_sink& out, layer_context const& context) {
    layer.write_tar(out, context);
};

/// Already packed: see the table above.
template <class L>
concept stored_layer = describes_itself<L> && requires(L const& layer) {
    { layer.stored() } -> std::convertible_to<layer_blob>;
    { layer.reader() } -> replayable_source;
};

/// See the table above.
template <class L>
concept quick_layer = stored_layer<L> && requires(L const& layer) {
    { layer.unverified_reader() } -> replayable_source;
};

/// See the table above.
template <class L>
concept layer_source = describes_itself<L> &&(writes_tar<L> || stored_layer<L>);

template <class L>
concept sized_layer = layer_source<L> && requires(L const& layer) {
    { layer.estimated_size() } -> std::convertible_to<std::uint64_t>;
};

} // namespace shiplap

// === shiplap/layer/any.hpp ===

// any_layer_source: any layer source as a value of one type, for lists of layers that are put together at run
// time.
//
//     std::vector<any_layer_source> layers{directory_layer{"base"}, tar_layer{"app.tar"},
//     blob_in_store(store, facts)};
//
// Cheap to copy: copies share the source. The seam costs one indirect call per chunk of tar.

namespace shiplap {

/// Owns any layer_source. Itself a sized_layer; not a stored_layer, for that is known at run time only: ask
/// stored().
class any_layer_source {
  public:
    template <layer_source L>
        requires(!std::same_as<std::remove_cvref_t<L>, any_layer_source>)
    any_layer_source(L layer) // NOLINT(google-explicit-constructor): a value conversion that loses nothing
        : self_{std::make_shared<model<L> const>(std::move(layer))} {}

    /// The tar of the layer. Throws error{unsupported} if it is stored and cannot write one: ask stored()
    /// first.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        self_->write_tar(byte_sink_ref{out}, context);
    }

    /// What is known of a layer that is packed already; nothing for one that is still to be packed.
    [[nodiscard]] std::optional<layer_blob> stored() const { return self_->stored(); }
    [[nodiscard]] bool is_stored() const { return stored().has_value(); }
    /// The packed bytes of a stored layer. Throws error{unsupported} for any other.
    [[nodiscard]] any_replayable_source reader() const { return self_->reader(); }
    /// The same for who verifies digest and size anyway.
    [[nodiscard]] any_replayable_source unverified_reader() const { return self_->unverified_reader(); }

    /// Whether one is a copy of the other, so that both are the same source.
    [[nodiscard]] bool is_same_as(any_layer_source const& other) const noexcept {
        return self_ == other.self_;
    }

    /// 0 where the source cannot tell.
    [[nodiscard]] std::uint64_t estimated_size() const { return self_->estimated_size(); }
    [[nodiscard]] std::string description() const { return self_->description(); }

  private:
    struct base {
        base() = default;
        base(base const&) = delete;
        base& operator=(base const&) = delete;
        virtual ~base() = default;
        virtual void write_tar(byte_sink_ref out, layer_context const& context) const = 0;
        [[nodiscard]] virtual std::optional<layer_blob> stored() const = 0;
        [[nodiscard]] virtual any_replayable_source reader() const = 0;
        [[nodiscard]] virtual any_replayable_source unverified_reader() const = 0;
        [[nodiscard]] virtual std::uint64_t estimated_size() const = 0;
        [[nodiscard]] virtual std::string description() const = 0;
    };

    template <class L>
    struct model final : base {
        explicit model(L from) : layer{std::move(from)} {}

        void write_tar(byte_sink_ref out, layer_context const& context) const override {
            if constexpr (writes_tar<L>)
                layer.write_tar(out, context);
            else
                throw error{error_code::unsupported, "pack", layer.description(), "is packed already"};
        }
        [[nodiscard]] std::optional<layer_blob> stored() const override {
            if constexpr (stored_layer<L>)
                return layer.stored();
            else
                return std::nullopt;
        }
        [[nodiscard]] any_replayable_source reader() const override {
            if constexpr (stored_layer<L>)
                return layer.reader();
            else
                throw error{error_code::unsupported, "read", layer.description(), "is not packed yet"};
        }
        [[nodiscard]] any_replayable_source unverified_reader() const override {
            if constexpr (quick_layer<L>)
                return layer.unverified_reader();
            else
                return reader();
        }
        [[nodiscard]] std::uint64_t estimated_size() const override {
            if constexpr (sized_layer<L>)
                return layer.estimated_size();
            else
                return 0;
        }
        [[nodiscard]] std::string description() const override { return layer.description(); }

        L layer;
    };
    std::shared_ptr<base const> self_;
};

} // namespace shiplap

// === shiplap/tar/whiteout.hpp ===

// Whiteouts: how a layer says that something of the layers below is gone (image-spec, layer.md, "Whiteouts").
//
//   name                meaning
//   dir/.wh.NAME        an empty file: dir/NAME of lower layers is removed
//   dir/.wh..wh..opq    an empty file: all that lower layers have in dir is hidden
//   dir/.wh..wh.*       any other such name is bookkeeping of AUFS and to be ignored, with what is below it
//
// Neither ever removes what its own layer brings, wherever in the archive it stands. A file that really has
// such a name cannot be stored in a layer.

namespace shiplap {

inline constexpr std::string_view whiteout_prefix = ".wh.";
inline constexpr std::string_view opaque_marker = ".wh..wh..opq";

/// Is this last part of a path one that layers give a meaning to?
constexpr bool is_reserved_name(std::string_view base) noexcept {
    return base.starts_with(whiteout_prefix);
}

/// The name of the whiteout for `path`, which has no slash at its end.
inline std::string whiteout_name(std::string_view path) {
    auto const base = path.rfind('/') + 1; // 0 if there is no '/'
    return std::string{path.substr(0, base)}.append(whiteout_prefix).append(path.substr(base));
}

/// A whiteout as the original differs write it: nothing but a name, even the time is 0.
inline tar_entry whiteout_entry(std::string_view path) {
    tar_entry entry;
    entry.name = whiteout_name(path);
    return entry;
}

enum class whiteout_kind {
    none,    ///< an ordinary path
    removal, ///< `path` is removed
    opaque,  ///< lower content of the directory `path` is hidden; "" is the root
    ignored, ///< without meaning; not to be extracted
};

struct whiteout {
    whiteout_kind kind = whiteout_kind::none;
    std::string path; ///< as the entry spells it, without a slash at its end
    friend bool operator==(whiteout const&, whiteout const&) = default;
};

/// What the name of an entry means. Throws format_error for a whiteout that removes nothing that can be named
/// (".wh." alone, ".wh..", ".wh..."), that is a directory, or that has entries below it.
inline whiteout classify_whiteout(std::string_view path) {
    static constexpr std::string_view aufs_prefix = ".wh..wh.";
    auto const invalid = [path](std::string reason) {
        return format_error{"read layer", std::string{path}, std::move(reason)};
    };
    for (std::size_t begin = 0; begin < path.size();) {
        auto const end = std::min(path.find('/', begin), path.size());
        auto const part = path.substr(begin, end - begin);
        if (part.starts_with(aufs_prefix) && part != opaque_marker) return {whiteout_kind::ignored, {}};
        if (is_reserved_name(part)) {
            if (end != path.size()) throw invalid("a whiteout must be an empty file, not a directory");
            if (part == opaque_marker)
                return {whiteout_kind::opaque, std::string{path.substr(0, begin == 0 ? 0 : begin - 1)}};
            auto const removed = part.substr(whiteout_prefix.size());
            if (removed.empty() || removed == "." || removed == "..")
                throw invalid("a whiteout must name what it removes");
            return {whiteout_kind::removal, std::string{path.substr(0, begin)}.append(removed)};
        }
        begin = end + 1;
    }
    return {};
}

} // namespace shiplap

// === shiplap/layer/walk.hpp ===

// Walks a directory tree in the one order that layers have: depth-first, the children of a directory sorted
// by the bytes of their names ("a", "a/b", then "a-b"), whatever readdir, the locale or the file system say.
//
//     tree_walker walk{"app"};
//     while (auto const* item = walk.next()) use(item->path, item->facts);
//
// Every step is relative to an open directory and follows no symbolic link, so that a path may be longer than
// PATH_MAX and a directory that is swapped for a link leads nowhere. Only the names in the directories on the
// current path are kept, and at most `open_levels` descriptors. What changes under the walk is an
// error{source_changed} that names the path.
//
// Who reads every file asks for walk_access::contents: then files and directories are opened first and looked at
// through the descriptor, which takes a path lookup less for each than a look, an opening and a second look.

namespace shiplap {

/// What to do with a source file whose name starts with ".wh.": in a layer that name is a deletion.
enum class reserved_names {
    refuse, ///< an error that names the path
    skip,   ///< left out, and what lies below it
};

/// What the user of a walk does with the files on it.
enum class walk_access {
    facts,    ///< reads few or none: nothing but directories is opened
    contents, ///< reads them: each item has a descriptor, if it is a file or directory that can be opened
};

/// A path in a tree, for messages; put together only when there is one.
struct source_label {
    std::string_view root{}, path{};

    source_label() = default;
    source_label(std::string_view of_root, std::string_view below) noexcept : root{of_root}, path{below} {}
    source_label(
        std::string const& whole) noexcept // NOLINT(google-explicit-constructor): a reference, as to a string
        : root{whole} {}

    [[nodiscard]] std::string text() const {
        std::string full{root};
        if (!path.empty() && !full.empty() && full.back() != '/') full += '/';
        return full.append(path);
    }
};

/// One thing met on a walk; never the root itself. Valid until the walker moves.
struct tree_item {
    std::string path;       ///< relative to the root, no '/' at either end
    std::size_t name_at;    ///< where the last component of `path` starts
    struct ::stat facts {}; ///< of the thing itself: links are not followed
    int folder = -1;        ///< descriptor of the directory that holds it
    int opened = -1;        ///< its own, from which `facts` are; -1 if the walk has not opened it

    [[nodiscard]] char const* name() const noexcept { return path.c_str() + name_at; }
    [[nodiscard]] bool is_directory() const noexcept { return S_ISDIR(facts.st_mode); }
    [[nodiscard]] bool is_regular() const noexcept { return S_ISREG(facts.st_mode); }
    [[nodiscard]] bool is_symbolic_link() const noexcept { return S_ISLNK(facts.st_mode); }
};

/// The order of a walk as an order of paths: '/' sorts before every other byte. Negative, zero or positive.
inline int compare_walk_order(std::string_view a, std::string_view b) noexcept {
    auto const [at_a, at_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    auto const rank = [](auto at, auto end) {
        return at == end ? -1 : *at == '/' ? 0 : static_cast<int>(static_cast<unsigned char>(*at));
    };
    return rank(at_a, a.end()) - rank(at_b, b.end());
}

namespace detail {

inline struct ::stat stat_open(int fd, source_label path) {
    struct ::stat facts {};
    if (::fstat(fd, &facts) != 0) throw system_error{"read", path.text(), errno};
    return facts;
}

/// True if nothing happened to a file between two looks at it. The change time covers mode and owner.
inline bool untouched(struct ::stat const& a, struct ::stat const& b) noexcept {
    auto const same = [](::timespec x, ::timespec y) {
        return x.tv_sec == y.tv_sec && x.tv_nsec == y.tv_nsec;
    };
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_mode == b.st_mode && a.st_size == b.st_size &&
           same(a.st_mtim, b.st_mtim) && same(a.st_ctim, b.st_ctim);
}

[[noreturn]] inline void throw_changed(source_label path) {
    throw error{error_code::source_changed, "read", path.text(),
                "changed while it was read; export again when nothing writes to it"};
}

/// How a regular file is opened. O_NONBLOCK: should a fifo have taken its place, that must not wait for a writer.
inline constexpr int file_flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
inline constexpr int folder_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

/// The names in a directory, without an allocation for each. The next in byte order is at the back.
class folder_names {
  public:
    struct entry {
        std::size_t at;     // in bytes_
        unsigned char type; // as d_type: a hint
    };

    folder_names() = default;
    /// Reads them from the start of an open directory, through `space`.
    folder_names(int fd, std::span<char> space, source_label path) {
        for (;;) {
            auto const n = ::getdents64(fd, space.data(), space.size());
            if (n < 0) throw system_error{"read directory", path.text(), errno};
            if (n == 0) break;
            for (auto rest = space.first(static_cast<std::size_t>(n)); !rest.empty();) {
                auto const* const found = reinterpret_cast<::dirent64 const*>(rest.data());
                add(found->d_name, found->d_type);
                rest = rest.subspan(found->d_reclen);
            }
        }
        std::sort(entries_.begin(), entries_.end(), [this](entry const& a, entry const& b) {
            return std::strcmp(name(a), name(b)) > 0; // compares unsigned bytes
        });
    }

    [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
    [[nodiscard]] entry const& back() const noexcept { return entries_.back(); }
    /// Valid for an entry that was popped, too.
    [[nodiscard]] char const* name(entry const& of) const noexcept { return bytes_.c_str() + of.at; }
    void pop_back() noexcept { entries_.pop_back(); }

    /// Those that are left, in descending order: as vectors have them that are used up from the back.
    [[nodiscard]] std::vector<std::string> all() const {
        std::vector<std::string> names;
        names.reserve(entries_.size());
        for (auto const& one : entries_) names.emplace_back(name(one));
        return names;
    }

  private:
    void add(std::string_view name, unsigned char type) {
        if (name == "." || name == "..") return;
        entries_.push_back({bytes_.size(), type});
        bytes_.append(name).push_back('\0');
    }

    std::string bytes_; // each name with the NUL behind it
    std::vector<entry> entries_;
};

/// Bytes that folder_names reads at once: some 1000 names.
inline constexpr std::size_t names_space = 32 * 1024;

/// The names in an open directory, in descending byte order.
inline std::vector<std::string> names_in(int fd, std::string const& path) {
    auto const space = std::make_unique_for_overwrite<char[]>(names_space);
    return folder_names{fd, {space.get(), names_space}, path}.all();
}

} // namespace detail

class tree_walker {
  public:
    /// Descriptors held open at once; directories further up are opened again on the way back.
    static constexpr std::size_t open_levels = 64;

    /// Opens the directory `root`, which may itself be reached through a symbolic link. Throws option_error
    /// for an empty name, system_error if there is no such directory.
    explicit tree_walker(std::string root, reserved_names reserved = reserved_names::refuse,
                         walk_access access = walk_access::facts)
        : root_{std::move(root)}, reserved_{reserved}, access_{access} {
        if (root_.empty())
            throw option_error{"read directory", "", "needs the name of a directory, got an empty one"};
        unique_fd fd{detail::retry_interrupted(
            [&] { return ::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); })};
        if (!fd) throw system_error{"read directory", root_, errno};
        auto const facts = detail::stat_open(fd.get(), label({}));
        enter(std::move(fd), facts, 0);
    }

    /// The next thing in order, or nullptr after the last. The children of a directory follow it.
    tree_item const* next() {
        if (std::exchange(into_item_, false)) enter_item();
        for (;;) {
            auto& here = levels_.back();
            if (here.names.empty()) {
                if (levels_.size() == 1) return nullptr;
                leave();
                continue;
            }
            auto const entry = here.names.back();
            here.names.pop_back();
            std::string_view const name{here.names.name(entry)};
            item_.path.resize(here.path_size);
            if (!item_.path.empty()) item_.path += '/';
            item_.name_at = item_.path.size();
            item_.path += name;
            if (is_reserved_name(name) && passes_over_reserved()) continue;
            item_.folder = here.fd.get();
            look(entry.type);
            into_item_ = item_.is_directory();
            return &item_;
        }
    }

    /// Called after next() has returned a directory: its children are passed over, unread.
    void skip_children() noexcept { into_item_ = false; }

    /// Descriptor of the root.
    [[nodiscard]] int root() const noexcept { return levels_.front().fd.get(); }

    /// A relative path with the root in front, for messages.
    [[nodiscard]] std::string full_path(std::string_view path) const { return label(path).text(); }
    /// The same, not put together yet. Refers to the walker and to `path`.
    [[nodiscard]] source_label label(std::string_view path) const noexcept { return {root_, path}; }

  private:
    struct level {
        unique_fd fd; // closed while the walk is far below
        ::dev_t device;
        ::ino_t inode;
        std::size_t path_size;
        detail::folder_names names; // those still to come
    };

    [[nodiscard]] bool passes_over_reserved() const {
        if (reserved_ == reserved_names::skip) return true;
        throw error{
            error_code::unsupported, "pack", full_path(item_.path),
            "names that start with '.wh.' mean deletions in a layer; rename it or leave such names out"};
    }

    // Facts of the new item. `type` is what its directory says, which may be out of date or nothing at all.
    void look(unsigned char type) {
        opened_ = unique_fd{};
        if (access_ == walk_access::contents && (type == DT_REG || type == DT_DIR))
            opened_ = open_item(type == DT_DIR ? detail::folder_flags : detail::file_flags);
        item_.opened = opened_.get();
        if (opened_) {
            item_.facts = detail::stat_open(opened_.get(), label(item_.path));
            return;
        }
        // What cannot be opened may be an entry all the same: an empty file, or one that is a link to another.
        if (::fstatat(item_.folder, item_.name(), &item_.facts, AT_SYMLINK_NOFOLLOW) != 0)
            throw system_error{"read", full_path(item_.path), errno};
    }

    [[nodiscard]] unique_fd open_item(int flags) const {
        return unique_fd{
            detail::retry_interrupted([&] { return ::openat(item_.folder, item_.name(), flags); })};
    }

    void enter_item() {
        auto fd = opened_ ? std::move(opened_) : open_item(detail::folder_flags);
        if (!fd) throw system_error{"read directory", full_path(item_.path), errno};
        enter(std::move(fd), item_.facts, item_.path.size());
        if (auto const depth = levels_.size(); depth > open_levels)
            levels_[depth - open_levels].fd = unique_fd{};
    }

    // `before` is what was known of the directory when its entry was made.
    void enter(unique_fd fd, struct ::stat const& before, std::size_t path_size) {
        auto const path = label(item_.path);
        detail::folder_names names{fd.get(), {space_.get(), detail::names_space}, path};
        if (!detail::untouched(before, detail::stat_open(fd.get(), path))) detail::throw_changed(path);
        levels_.push_back({std::move(fd), before.st_dev, before.st_ino, path_size, std::move(names)});
    }

    void leave() {
        auto const child = std::move(levels_.back());
        levels_.pop_back();
        auto& parent = levels_.back();
        if (parent.fd) return;
        auto const path = label(std::string_view{item_.path}.substr(0, parent.path_size));
        parent.fd = unique_fd{::openat(child.fd.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (!parent.fd) throw system_error{"read directory", path.text(), errno};
        auto const facts = detail::stat_open(parent.fd.get(), path);
        if (facts.st_dev != parent.device || facts.st_ino != parent.inode) detail::throw_changed(path);
    }

    std::string root_;
    reserved_names reserved_;
    walk_access access_;
    std::unique_ptr<char[]> space_ = std::make_unique_for_overwrite<char[]>(detail::names_space);
    std::vector<level> levels_;
    tree_item item_{};
    unique_fd opened_;       // item_.opened
    bool into_item_ = false; // item_ is a directory whose children come next
};

} // namespace shiplap

// === shiplap/tar/retimer.hpp ===

// tar_retimer: an archive with other times and nothing else changed: order, names, owners, formats, unknown
// records and payload stay to the byte. It goes along with the scanner that parses the archive, and gets what
// that one took off its input:
//
//     tar_retimer retimer{clamp_timestamps{limit}};
//     while (!in.empty()) {
//         auto const before = in;
//         auto const event = scanner.next(in);
//         retimer.pass(before.first(before.size() - in.size()), event, scanner, out);
//     }
//     scanner.finish();
//     retimer.finish(out);
//
// Each place that holds a time is mapped for itself: the field of every header, also of extended ones, the
// access and change times of GNU tar and star, the records mtime, atime and ctime of PAX, also global ones.
// A changed mtime moves from its record into the field if that can hold it, as it would have been written in
// the first place. Whiteouts of time 0 stay. A field holds whole seconds, so a fraction that the policy makes is
// lost there. What is behind the two zero blocks is dropped.

namespace shiplap {

class tar_retimer {
  public:
    /// Refers to the policy.
    explicit tar_retimer(timestamps_ref time) : time_{time} {}

    /// The next piece of the archive, as `scanner` just took it with `event`.
    template <byte_sink Out>
    void pass(bytes_view taken, tar_scanner::event event, tar_scanner const& scanner, Out& out) {
        if (event == tar_scanner::event::payload) return out.write(taken);
        while (!taken.empty()) {
            auto const size = wanted_ < taken.size() ? static_cast<std::size_t>(wanted_) : taken.size();
            auto const piece = taken.first(size);
            taken = taken.subspan(size);
            wanted_ -= size;
            if (part_ == part::verbatim)
                out.write(piece);
            else if (part_ == part::records)
                body_ += as_text(piece);
            else if (part_ == part::block)
                std::copy_n(as_text(piece).begin(), size,
                            block_.bytes.end() - static_cast<std::ptrdiff_t>(wanted_ + size));
            if (wanted_ != 0) continue;
            if (part_ == part::block && event == tar_scanner::event::entry && taken.empty())
                write_entry(scanner.entry(), out);
            else
                end_part(out);
        }
    }

    /// The archive is complete: ends it.
    template <byte_sink Out>
    void finish(Out& out) {
        out.write(as_bytes(std::string(2 * tar_block_size, '\0')));
    }

  private:
    enum class part {
        block,    // a header, or the end
        verbatim, // padding, or a name of GNU tar
        records,  // the body of a PAX header and its padding
        trailer,  // the end and what is behind it
    };

    void expect(part what, std::uint64_t size) noexcept {
        part_ = size == 0 ? part::block : what;
        wanted_ = size == 0 ? tar_block_size : size;
    }

    template <byte_sink Out>
    void write_entry(tar_entry const& entry, Out& out) {
        bool const is_whiteout =
            is_reserved_name(std::string_view{entry.name}.substr(entry.name.rfind('/') + 1));
        if (!is_whiteout || entry.mtime != timestamp{}) retime_block();
        if (auto const moved = std::exchange(moved_mtime_, std::nullopt)) {
            block_.put_signed(detail::tar_fields::mtime, *moved);
            block_.put_checksum();
        }
        out.write(as_bytes(block_.all()));
        expect(part::verbatim, tar_padding(entry.size)); // the payload does not come here
    }

    template <byte_sink Out>
    void end_part(Out& out) {
        if (part_ == part::records) return write_records(out);
        if (part_ != part::block) return expect(part::block, tar_block_size);
        if (block_.is_zero()) return expect(part::trailer, std::numeric_limits<std::uint64_t>::max());
        retime_block();
        body_size_ = static_cast<std::size_t>(block_.number(detail::tar_fields::size).value_or(0));
        auto const size = body_size_ + tar_padding(body_size_);
        auto const type = block_.raw(detail::tar_fields::type).front();
        bool const is_pax = type == 'x' || type == 'g';
        if (!is_pax || size == 0) out.write(as_bytes(block_.all())); // else its size may change
        body_.clear();
        expect(is_pax ? part::records : part::verbatim, size);
    }

    template <byte_sink Out>
    void write_records(Out& out) {
        auto const records = retimed_records();
        expect(part::block, tar_block_size);
        if (records.empty() && body_size_ != 0) return;
        if (records.size() != body_size_) {
            block_.put_octal(detail::tar_fields::size, records.size());
            block_.put_checksum();
        }
        out.write(as_bytes(block_.all()));
        out.write(as_bytes(records + std::string(tar_padding(records.size()), '\0')));
    }

    std::string retimed_records() {
        std::string records;
        bool const is_global = block_.raw(detail::tar_fields::type).front() == 'g';
        unsigned mtimes = 0;
        each_record([&](detail::pax_record const& record, std::string_view) {
            if (record.key == "mtime") ++mtimes;
        });
        if (is_global && mtimes != 0) global_mtime_ = true;
        bool const may_move = !is_global && !global_mtime_ && mtimes == 1;
        each_record([&](detail::pax_record const& record, std::string_view whole) {
            auto const time = time_of(record);
            auto const mapped = time ? time_(*time) : timestamp{};
            if (!time || mapped == *time)
                records += whole;
            else if (record.key == "mtime" && may_move && fits_field(mapped))
                moved_mtime_ = mapped.seconds;
            else
                detail::append_pax_record(records, record.key, detail::pax_time(mapped));
        });
        return records;
    }

    /// Calls `action(record, its bytes)` for each record of the body.
    template <class Action>
    void each_record(Action action) const {
        std::string_view rest{body_.data(), body_size_};
        while (!rest.empty()) {
            auto const all = rest;
            auto const record = detail::take_pax_record(rest);
            if (!record) return; // the scanner refuses it
            action(*record, all.substr(0, all.size() - rest.size()));
        }
    }

    [[nodiscard]] static std::optional<timestamp> time_of(detail::pax_record const& record) {
        if (record.key != "mtime" && record.key != "atime" && record.key != "ctime") return {};
        return detail::parse_pax_time(record.value);
    }

    [[nodiscard]] static bool fits_field(timestamp time) noexcept {
        return time.nanoseconds == 0 &&
               detail::fits_octal(detail::tar_fields::mtime, static_cast<std::uint64_t>(time.seconds));
    }

    void retime_block() {
        using namespace detail;
        retime_field(tar_fields::mtime);
        auto const dialect = block_.dialect();
        if (dialect != tar_dialect::gnu && dialect != tar_dialect::star) return;
        bool const is_gnu = dialect == tar_dialect::gnu;
        for (auto const field : {is_gnu ? tar_fields::gnu_atime : tar_fields::star_atime,
                                 is_gnu ? tar_fields::gnu_ctime : tar_fields::star_ctime})
            if (block_.raw(field).front() != '\0') retime_field(field); // else it is not there
    }

    void retime_field(detail::tar_field field) {
        auto const seconds = block_.number(field);
        if (!seconds) return;
        auto const mapped = time_(timestamp{*seconds, 0}).seconds;
        if (mapped == *seconds) return;
        block_.put_signed(field, mapped);
        block_.put_checksum();
    }

    timestamps_ref time_;
    part part_ = part::block;
    std::uint64_t wanted_ = tar_block_size; // bytes of part_ that are missing
    detail::tar_block block_;
    std::string body_; // of the PAX header block_
    std::size_t body_size_ = 0;
    std::optional<std::int64_t> moved_mtime_; // from a record to the field of the next entry
    bool global_mtime_ = false;               // there is a record that would take its place
};

} // namespace shiplap

// === shiplap/layer/tar.hpp ===

// tar_layer: a tar archive becomes a layer. It may be packed with gzip or zstd, and come from a file or,
// once, from a stream.
//
//     tar_layer{"rootfs.tar.gz"}
//     tar_layer{stream_reader{STDIN_FILENO, "standard input"}, "standard input"}
//
// The bytes of the archive pass as they are, so that the diff_id is the digest of that very tar; they are
// parsed on the way, and what is no whole and harmless archive is refused: truncated, without its end marker,
// with names that lead out of the root. Where timestamps have to change, those alone do (tar/retimer.hpp), and
// the padding at the end is dropped.

namespace shiplap {

namespace detail {

/// A file that is read from front to end and must not change meanwhile. Also for named pipes and devices,
/// which have no facts to compare.
class watched_file {
  public:
    explicit watched_file(std::string path) : path_{std::move(path)} {
        if (path_.empty()) throw option_error{"read tar", "", "needs the name of a file, got an empty one"};
        fd_ = open_file(path_, O_RDONLY);
        facts_ = stat_open(fd_.get(), path_);
        if (S_ISDIR(facts_.st_mode)) throw system_error{"read", path_, EISDIR};
    }

    std::size_t read(bytes_span into) {
        auto const n = retry_interrupted([&] { return ::read(fd_.get(), into.data(), into.size()); });
        if (n < 0) throw system_error{"read", path_, errno};
        return static_cast<std::size_t>(n);
    }

    /// Throws error{source_changed}.
    void check() const {
        if (S_ISREG(facts_.st_mode) && !untouched(facts_, stat_open(fd_.get(), path_))) throw_changed(path_);
    }

    [[nodiscard]] std::uint64_t size() const noexcept { return static_cast<std::uint64_t>(facts_.st_size); }

  private:
    std::string path_;
    unique_fd fd_;
    struct ::stat facts_ {};
};

/// What is wrong with the name of an entry, or the target of a hard link; empty if nothing is.
inline std::string_view fault_of_name(std::string_view name) noexcept {
    if (name.empty()) return "is empty";
    if (name.front() == '/') return "is absolute";
    while (!name.empty()) {
        auto const component = name.substr(0, name.find('/'));
        if (component == "..") return "leads out of the root";
        name.remove_prefix(std::min(name.size(), component.size() + 1));
    }
    return {};
}

/// Throws unless an archive may have this entry; `archive` names it in messages.
inline void check_entry(tar_entry const& entry, std::string const& archive, std::uint64_t offset) {
    auto const refuse = [&](std::string_view what, std::string_view fault) {
        throw error{error_code::unsafe_entry, "read tar", archive,
                    "entry '" + printable(entry.name) + "' at offset " + std::to_string(offset) + ": " +
                        std::string{what} + " " + std::string{fault}};
    };
    if (auto const fault = fault_of_name(entry.name); !fault.empty()) refuse("its name", fault);
    if (entry.type == entry_type::hard_link)
        if (auto const fault = fault_of_name(entry.link_name); !fault.empty())
            refuse("the target '" + printable(entry.link_name) + "' of the hard link", fault);
    try {
        static_cast<void>(classify_whiteout(entry.name)); // throws if it is a malformed one
    } catch (error& problem) {
        problem.within("'" + printable(archive) + "', offset " + std::to_string(offset));
        throw;
    }
}

/// Does what reads `archive`: decoders do not know where their bytes come from.
template <class Action>
auto naming_archive(std::string const& archive, Action action) {
    try {
        return action();
    } catch (error& problem) {
        if (problem.subject() != archive) problem.within("'" + printable(archive) + "'");
        throw;
    }
}

/// Moves an archive, which `name` names, into a layer. Throws unless it is whole and harmless.
template <byte_source In, byte_sink Out>
void pass_archive(In& plain, std::string const& name, Out& out, layer_context const& context) {
    tar_scanner scanner{name};
    bool const keeps = context.time.keeps();
    tar_retimer retimer{context.time.rule()};

    std::unique_ptr<std::byte[]> space; // made if `out` lends nothing, or not the bytes that it gets
    for (;;) {
        bytes_span buffer{};
        if constexpr (lending_sink<Out>)
            if (keeps) buffer = out.room();
        bool const lent = !buffer.empty();
        if (!lent && !space) space = std::make_unique_for_overwrite<std::byte[]>(transfer_size);
        if (!lent) buffer = {space.get(), transfer_size};
        auto const n = naming_archive(name, [&] { return plain.read(buffer); });
        if (n == 0) break;
        for (bytes_view rest = buffer.first(n); !rest.empty();) {
            auto const before = rest;
            auto const event = scanner.next(rest);
            if (event == tar_scanner::event::entry) {
                check_entry(scanner.entry(), name, scanner.entry_offset());
                static_cast<void>(context.time(scanner.entry().mtime)); // the policy may take note of it
            }
            if (!keeps) retimer.pass(before.first(before.size() - rest.size()), event, scanner, out);
        }
        if constexpr (lending_sink<Out>)
            if (lent) {
                out.filled(n);
                continue;
            }
        if (keeps) out.write(buffer.first(n));
    }
    scanner.finish();
    if (!scanner.at_end_marker())
        throw format_error{"read tar", name,
                           "truncated: ends at offset " + std::to_string(scanner.offset()) +
                               " without the two zero blocks that end an archive"};
    if (!keeps) retimer.finish(out);
}

} // namespace detail

class tar_layer {
  public:
    /// A file; opened by write_tar().
    explicit tar_layer(std::string path) : name_{std::move(path)} {}
    /// A stream, which can be packed once; `name` is for messages.
    tar_layer(any_byte_source stream, std::string name)
        : name_{std::move(name)},
          stream_{std::make_shared<std::optional<any_byte_source>>(std::move(stream))} {}

    /// The archive, unpacked. Throws format_error, or an error of code unsafe_entry, if it is not a tar that
    /// can be a layer; source_changed if the file is modified meanwhile; unsupported if a stream is read
    /// again.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        if (stream_) {
            if (!*stream_)
                throw error{error_code::unsupported, "read tar", name_,
                            "is a stream and can be packed only once"};
            return pass(std::exchange(*stream_, std::nullopt).value(), out, context);
        }
        detail::watched_file file{name_};
        pass(byte_source_ref{file}, out, context);
        file.check();
    }

    /// The size of a plain tar file; 0, which no tar has, where that is not known beforehand.
    [[nodiscard]] std::uint64_t estimated_size() const {
        struct ::stat facts {};
        if (stream_ || (::stat(name_.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode)))
            return 0; // opening a pipe would take it from who reads it later
        detail::watched_file file{name_};
        std::array<std::byte, 8> head{};
        auto const n = read_fully(file, head);
        return sniff_encoding(bytes_view{head}.first(n)).empty() ? file.size() : 0;
    }

    [[nodiscard]] std::string description() const { return "tar:" + name_; }

  private:
    template <byte_sink Out>
    void pass(any_byte_source packed, Out& out, layer_context const& context) const {
        auto plain = detail::naming_archive(name_, [&] { return decode_any(std::move(packed)); });
        detail::pass_archive(plain, name_, out, context);
    }

    std::string name_;
    std::shared_ptr<std::optional<any_byte_source>> stream_; // none: name_ is the path of a file
};

} // namespace shiplap

// === shiplap/store/concept.hpp ===

// store: where blobs are kept under their digest. What is not whole and verified is not there.
//
//   concept              expression               meaning
//   blob_writer          w.write(in)              a byte_sink
//                        w.commit(facts)          makes the blob visible under facts.digest; without it, it
//                                                 never was
//   blob_reader_source   s.contains(digest)       true if the blob can be read
//                        s.reader(digest) -> r    a replayable_source; throws error{not_found}
//   remote_source        S::is_remote             a blob_reader_source of which each reading is a download
//   owning_source        s.owns(facts) -> bool    a blob_reader_source that knows which blobs it hashed itself and
//                                                 nobody could change since: these need not be verified
//   blob_store           s.open() -> w            a blob_reader_source that also takes new blobs
//
// Readers hand out bytes as they are stored: who reads from a place that others may write verifies
// (verified_source). A store may be used on several threads at once, each with writers and readers of its
// own.
//
// Exemplar, compiled in tests/store/concept.cpp: see memory_store, which is one.
//
// Models: memory_store, scratch_store, layout_store.

namespace shiplap {

template <class W>
concept blob_writer = byte_sink<W> && std::movable<W> && requires(W& writer, content_facts const& facts) {
    writer.commit(facts);
};

template <class S>
using blob_reader_of = decltype(std::declval<S const&>().reader(std::declval<digest const&>()));

template <class S>
using blob_writer_of = decltype(std::declval<S&>().open());

template <class S>
concept blob_lookup = requires(S const& store, digest const& which) {
    { store.contains(which) } -> std::same_as<bool>;
};

template <class S>
concept blob_reader_source = blob_lookup<S> && replayable_source<blob_reader_of<S>>;

/// Reading costs a download.
template <class S>
concept remote_source = blob_reader_source<S> && requires {
    requires S::is_remote;
};

/// Some blobs can be trusted.
template <class S>
concept owning_source = blob_reader_source<S> && requires(S const& store, content_facts const& what) {
    { store.owns(what) } -> std::same_as<bool>;
};

/// Whether reading `what` from `store` gives these very bytes for certain.
template <blob_reader_source S>
bool is_owned(S const& store, content_facts const& what) {
    if constexpr (owning_source<S>)
        return store.owns(what);
    else
        return false;
}

/// See the table above.
template <class S>
concept blob_store = blob_reader_source<S> && blob_writer<blob_writer_of<S>>;

/// Copies `from` to its end into `store` and makes it visible as `what`. `from` must be verified: if it
/// throws at its end, the store is as it was.
template <blob_store S, byte_source From>
void store_blob(S& store, content_facts const& what, From& from) {
    auto writer = store.open();
    transfer(from, writer);
    writer.commit(what);
}

/// A replayable_source that hands out its last byte only when all of them were the promised ones, and throws
/// digest_mismatch otherwise. So who got as many bytes as the descriptor says got the right ones; what read()
/// handed out before that must not be published.
template <replayable_source R>
class verified_source {
  public:
    verified_source(R from, digest expected, std::uint64_t size)
        : from_{std::move(from)},
          expected_{std::move(expected)},
          size_{size},
          left_{size},
          check_{expected_, size_} {}

    std::size_t read(bytes_span into) {
        if (into.empty()) return 0;
        auto const n = from_.read(into);
        if (n != 0) check_.write(into.first(n)); // throws if there are more bytes than promised
        left_ -= n;
        if (!verified_ && (n == 0 || left_ == 0)) {
            check_.finish();
            verified_ = true;
        }
        return n;
    }

    void rewind() {
        from_.rewind();
        check_ = digest_verifier{expected_, size_};
        left_ = size_;
        verified_ = false;
    }

  private:
    R from_;
    digest expected_;
    std::uint64_t size_, left_;
    digest_verifier check_;
    bool verified_ = false;
};

} // namespace shiplap

// === shiplap/layer/existing.hpp ===

// existing_blob: a layer that is packed already, in a store or a file. It is used as it is: no byte is packed
// again, and what is read is verified against the digest and size that were promised.
//
//     existing_blob layer{facts, [&store, which = facts.blob.digest] { return store.reader(which); }};
//     auto layer = blob_in_store(store, facts);
//     auto layer = blob_in_file("layer.tar.gz", facts);

namespace shiplap {

/// A replayable_source of a packed layer that throws format_error before its first byte if the bytes are
/// packed otherwise than `encoding` says; one of a codec that is not known here passes.
template <replayable_source R>
class packed_layer_source {
  public:
    packed_layer_source(R from, std::string encoding, digest const& which)
        : from_{std::move(from)}, encoding_{std::move(encoding)}, name_{which.text()} {}

    std::size_t read(bytes_span into) {
        if (into.empty()) return 0;
        if (!checked_) check();
        if (next_ == filled_) return from_.read(into);
        auto const n = std::min(into.size(), filled_ - next_);
        std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(next_), n, into.begin());
        next_ += n;
        return n;
    }

    void rewind() {
        from_.rewind();
        next_ = filled_ = 0;
        checked_ = false;
    }

  private:
    void check() {
        filled_ = read_fully(from_, head_);
        checked_ = true;
        bool const is_known = encoding_.empty() || encoding_ == "gzip" || encoding_ == "zstd";
        auto const found = sniff_encoding(bytes_view{head_}.first(filled_));
        if (!is_known || found == encoding_) return;
        auto const in_words = [](std::string_view encoding) {
            return encoding.empty() ? std::string{"a plain tar"} : "packed with " + std::string{encoding};
        };
        throw format_error{"read layer", name_,
                           "should be " + in_words(encoding_) + " by its media type, is " + in_words(found)};
    }

    R from_;
    std::string encoding_, name_;
    std::array<std::byte, 4> head_{};
    std::size_t next_ = 0, filled_ = 0; // of head_: handed out, and there at all
    bool checked_ = false;
};

namespace detail {

struct updating_sink {
    digest_hasher& hasher;
    void write(bytes_view in) const { hasher.update(in); }
};

/// A source whose bytes somebody else sees, too.
struct observed_source {
    any_byte_source from;
    byte_sink_ref seen;
    std::size_t read(bytes_span into) {
        auto const n = from.read(into);
        seen.write(into.first(n));
        return n;
    }
};

/// The archive in the layer `packed`. `seen` gets all that it unpacks to.
inline any_byte_source archive_in(layer_blob const& facts, any_byte_source packed, std::string name,
                                  byte_sink_ref seen) {
    if (facts.encoding == "gzip")
        return estargz_payload{std::move(packed), std::move(name),
                               facts.annotations.contains(toc_digest_annotation), seen};
    return observed_source{decode_as(facts.encoding, std::move(packed)), seen};
}

} // namespace detail

template <class F>
concept opens_reader = std::invocable<F const&> && replayable_source<std::invoke_result_t<F const&>>;

/// A stored_layer. `open()` gives a new reader of the packed bytes at each call.
template <opens_reader Open>
struct existing_blob {
    layer_blob facts;
    Open open;

    [[nodiscard]] layer_blob const& stored() const noexcept { return facts; }

    /// The packed bytes; throws format_error at their start if they are packed in another way than `facts`
    /// say, digest_mismatch at their end, or before, if they are not the promised ones.
    [[nodiscard]] auto reader() const {
        return packed_layer_source{verified_source{open(), facts.blob.digest, facts.blob.size},
                                   facts.encoding, facts.blob.digest};
    }

    /// The same for who verifies the bytes anyway, as copy() does.
    [[nodiscard]] auto unverified_reader() const {
        return packed_layer_source{open(), facts.encoding, facts.blob.digest};
    }

    /// The tar in it, for a layer that is to be packed anew: in another encoding, with other times. Of an
    /// eStargz blob that is the one it was made of. Throws as tar_layer does; format_error for a table of
    /// contents that is not where it should be; at its end digest_mismatch if the blob does not unpack to
    /// what `facts.diff_id` promises.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        digest_hasher everything{facts.diff_id};
        detail::updating_sink seen{everything};
        auto archive = detail::archive_in(facts, any_byte_source{reader()}, description(), seen);
        detail::pass_archive(archive, description(), out, context);
        if (auto const found = everything.finish(); found != facts.diff_id)
            throw digest_mismatch{"unpack layer", facts.blob.digest.text(),
                                  "unpacked it has digest " + found.text() +
                                      ", the configuration of its image says " + facts.diff_id.text()};
    }

    [[nodiscard]] std::uint64_t estimated_size() const noexcept { return facts.blob.size; }
    [[nodiscard]] std::string description() const { return "blob:" + facts.blob.digest.text(); }
};
template <class Open>
existing_blob(layer_blob, Open) -> existing_blob<Open>;

/// A layer that lies in a store, which must outlive it.
template <blob_reader_source S>
auto blob_in_store(S const& store, layer_blob facts) {
    auto which = facts.blob.digest;
    return existing_blob{std::move(facts),
                         [&store, which = std::move(which)] { return store.reader(which); }};
}

/// A layer that lies in a store, which is kept as long as the layer is.
template <blob_reader_source S>
auto blob_in_store(std::shared_ptr<S const> store, layer_blob facts) {
    auto which = facts.blob.digest;
    return existing_blob{std::move(facts), [store = std::move(store), which = std::move(which)] {
                             return store->reader(which);
                         }};
}

/// A layer that lies in a file.
inline auto blob_in_file(std::string path, layer_blob facts) {
    return existing_blob{std::move(facts), [path = std::move(path)] { return file_reader{path}; }};
}

} // namespace shiplap

// === shiplap/store/graph.hpp ===

// graph: everything that an image consists of, found by following descriptors from its root.
//
//     auto graph = read_graph(root, store);
//     for (auto const& node : graph.contents) ...            // leaves, then manifests, then the root
//     auto image = select_platform(graph, wanted);           // the manifest that a platform runs
//
// Whatever a copy, an archive or an extraction does starts from a graph, so all that comes from outside is
// checked here, once: every manifest and index has the size and digest that its descriptor promises, is of
// the media type that its descriptor names, and is parsed from the very bytes that were hashed (image-spec,
// descriptor.md, "Verification"). Layers and configurations are only looked up: who moves them verifies them.
//
// Not followed: `subject`, a weak link (image-spec, manifest.md). Left out: a non-distributable layer that
// the source does not have and that names URLs to fetch it from. Anything else that is missing is an error.

namespace shiplap {

/// What a blob is to the image that it belongs to.
enum class node_role {
    config,
    layer,
    manifest,
    index,
    blob, ///< an entry of an index that is neither manifest nor index
};

struct image_node {
    descriptor what;
    node_role role;
};

/// An image: one manifest, or an index with all that it names.
struct image_graph {
    descriptor root;
    std::map<digest, image_manifest> manifests{};
    std::map<digest, image_index> indexes{};
    /// Each content once, children before parents: configurations and layers in the order of their manifests,
    /// then manifests, then indexes, the root last.
    std::vector<image_node> contents{};
};

/// Indexes inside each other at most.
inline constexpr unsigned max_index_depth = 8;
/// Contents of one image at most.
inline constexpr std::size_t max_image_contents = 10'000;

/// The whole content of a blob of at most `limit` bytes, verified. Throws error{not_found}, format_error if
/// the descriptor says that it is larger, digest_mismatch if it is not what the descriptor says.
template <blob_reader_source S>
std::string read_blob(S const& from, descriptor const& what, std::uint64_t limit = max_document_size) {
    if (what.size > limit)
        throw format_error{"read blob", what.digest.text(),
                           "has " + std::to_string(what.size) + " bytes, at most " + std::to_string(limit) +
                               " are read"};
    verified_source source{from.reader(what.digest), what.digest, what.size};
    std::string text(static_cast<std::size_t>(what.size), '\0');
    bytes_span const space{reinterpret_cast<std::byte*>(text.data()), text.size()};
    auto const filled = read_fully(source, space);
    std::byte beyond{};
    // Throws unless the content ends here, and if `space` was not filled.
    while (source.read({&beyond, 1}) != 0) {
    }
    text.resize(filled);
    return text;
}

namespace detail {

/// The contents that were met. Content that two descriptors describe differently is an attempt to be understood in two
/// ways. (No part of graph_reader, lest it be compiled for each kind of source.)
class graph_contents {
  public:
    explicit graph_contents(descriptor const& root) : root_{root.digest} {}

    /// True if it is new. Throws format_error.
    bool add(descriptor const& what, node_role role) {
        auto const is_document = role == node_role::manifest || role == node_role::index;
        auto const [known, added] = seen_.try_emplace(what.digest, known_as{what.size, is_document, role});
        if (added && seen_.size() > max_image_contents)
            throw format_error{"read image", root_.text(),
                               "consists of more than " + std::to_string(max_image_contents) + " blobs"};
        if (known->second.size != what.size)
            throw format_error{"read image", what.digest.text(),
                               "is described once with " + std::to_string(known->second.size) +
                                   " and once with " + std::to_string(what.size) + " bytes"};
        if (known->second.is_document != is_document || (is_document && known->second.role != role))
            throw format_error{"read image", what.digest.text(), "is described by different media types"};
        return added;
    }

  private:
    struct known_as {
        std::uint64_t size;
        bool is_document;
        node_role role;
    };

    digest root_;
    std::map<digest, known_as> seen_;
};

template <blob_reader_source S>
class graph_reader {
  public:
    graph_reader(S const& from, descriptor const& root)
        : from_{from}, graph_{.root = root}, contents_{root} {}

    image_graph read() && {
        auto const& root = graph_.root;
        if (!is_index_type(root.media_type) && !is_manifest_type(root.media_type))
            throw error{error_code::unsupported, "read image", root.digest.text(),
                        "the media type '" + root.media_type + "' is that of no image manifest or index"};
        walk(root, 0);
        for (auto& parent : parents_) graph_.contents.push_back(std::move(parent));
        return std::move(graph_);
    }

  private:
    void walk(descriptor const& what, unsigned depth) {
        if (is_index_type(what.media_type))
            walk_index(what, depth);
        else if (is_manifest_type(what.media_type))
            walk_manifest(what);
        else
            leaf(what, node_role::blob, "entry of an index");
    }

    void walk_index(descriptor const& what, unsigned depth) {
        if (depth >= max_index_depth)
            throw format_error{"read index", what.digest.text(),
                               "more than " + std::to_string(max_index_depth) + " indexes inside each other"};
        if (!contents_.add(what, node_role::index)) return;
        auto index = parse_index(read_blob(from_, what), what.digest.text(), what.media_type);
        for (auto const& child : index.manifests) {
            try {
                walk(child, depth + 1);
            } catch (error& failure) {
                if (child.platform) failure.within("platform " + format(*child.platform));
                throw;
            }
        }
        graph_.indexes.emplace(what.digest, std::move(index));
        parents_.push_back({what, node_role::index});
    }

    void walk_manifest(descriptor const& what) {
        if (!contents_.add(what, node_role::manifest)) return;
        auto manifest = parse_manifest(read_blob(from_, what), what.digest.text(), what.media_type);
        for (std::size_t i = 0; i < manifest.layers.size(); ++i)
            leaf(manifest.layers[i], node_role::layer,
                 "layer " + std::to_string(i + 1) + " of manifest " + what.digest.text());
        leaf(manifest.config, node_role::config, "configuration of manifest " + what.digest.text());
        graph_.manifests.emplace(what.digest, std::move(manifest));
        parents_.push_back({what, node_role::manifest});
    }

    void leaf(descriptor const& what, node_role role, std::string const& meaning) {
        if (!contents_.add(what, role)) return;
        if (from_.contains(what.digest)) {
            graph_.contents.push_back({what, role});
            return;
        }
        if (role == node_role::layer && is_foreign_layer(what.media_type) && !what.urls.empty()) return;
        throw error{error_code::not_found, "find blob", what.digest.text(),
                    "the source does not have this " + meaning};
    }

    S const& from_;
    image_graph graph_;
    std::vector<image_node> parents_;
    graph_contents contents_;
};

} // namespace detail

/// Finds all that belongs to `root`. Throws error{not_found} that names the platform and the digest of what
/// is missing, digest_mismatch, or format_error.
template <blob_reader_source S>
image_graph read_graph(descriptor const& root, S const& from) {
    return detail::graph_reader<S>{from, root}.read();
}

/// One image out of a graph.
struct selected_image {
    descriptor root; ///< of the manifest
    image_manifest manifest;
};

namespace detail {

inline bool is_runnable(image_manifest const& manifest) {
    return manifest.config.media_type == oci_media_types::config ||
           manifest.config.media_type == docker_media_types::config;
}

inline bool same_target(platform const& there, platform const& wanted) {
    auto const a = normalised(there), b = normalised(wanted);
    return a.os == b.os && a.architecture == b.architecture && a.variant == b.variant &&
           (b.os_version.empty() || a.os_version == b.os_version);
}

/// The manifests of all images that can be run, in the order of their indexes; attestations are none.
inline void collect_images(image_graph const& graph, descriptor const& at, std::set<digest>& visited,
                           std::vector<descriptor>& found) {
    if (auto const image = graph.manifests.find(at.digest); image != graph.manifests.end()) {
        if (is_runnable(image->second) && !at.annotations.contains("vnd.docker.reference.type"))
            found.push_back(at);
    } else if (auto const index = graph.indexes.find(at.digest);
               index != graph.indexes.end() && visited.insert(at.digest).second) {
        for (auto const& child : index->second.manifests) collect_images(graph, child, visited, found);
    }
}

} // namespace detail

/// The image for a platform: the first one that matches (image-spec, image-index.md). Without `wanted` there
/// must be exactly one. A root that is a manifest is taken as it is. Throws error{not_found} that lists what
/// there is.
inline selected_image select_platform(image_graph const& graph, std::optional<platform> const& wanted) {
    std::set<digest> visited;
    std::vector<descriptor> images;
    detail::collect_images(graph, graph.root, visited, images);
    std::string there;
    for (auto const& image : images) {
        bool const fits =
            graph.manifests.contains(graph.root.digest) ||
            (wanted ? image.platform && detail::same_target(*image.platform, *wanted) : images.size() == 1);
        if (fits) return {image, graph.manifests.at(image.digest)};
        there += (there.empty() ? "" : ", ") + (image.platform ? format(*image.platform) : "unknown");
    }
    throw error{error_code::not_found, "select platform", wanted ? format(*wanted) : "",
                there.empty() ? "this is no image that can be run" : "choose one of these: " + there};
}

namespace detail {

template <blob_reader_source S>
class image_finder {
  public:
    image_finder(descriptor const& root, S const& from, platform const& wanted)
        : root_{root}, from_{from}, wanted_{wanted} {}

    selected_image find() {
        if (auto found = search(root_, 0)) return std::move(*found);
        throw error{error_code::not_found, "select platform",
                    is_index_type(root_.media_type) ? format(wanted_) : root_.digest.text(),
                    there_.empty() ? "this is no image that can be run" : "choose one of these: " + there_};
    }

  private:
    std::optional<selected_image> search(descriptor const& at, unsigned depth) {
        if (is_manifest_type(at.media_type)) return look_at(at, depth == 0);
        if (!is_index_type(at.media_type)) return {};
        if (depth >= max_index_depth)
            throw format_error{"read index", at.digest.text(),
                               "more than " + std::to_string(max_index_depth) + " indexes inside each other"};
        if (!contents_.add(at, node_role::index)) return {};
        auto const index = parse_index(read_blob(from_, at), at.digest.text(), at.media_type);
        for (auto const& child : index.manifests)
            if (auto found = search(child, depth + 1)) return found;
        return {};
    }

    std::optional<selected_image> look_at(descriptor const& at, bool is_root) {
        if (at.annotations.contains("vnd.docker.reference.type")) return {};
        if (!is_root && (!at.platform || !same_target(*at.platform, wanted_))) {
            there_ += (there_.empty() ? "" : ", ") + (at.platform ? format(*at.platform) : "unknown");
            return {};
        }
        auto manifest = parse_manifest(read_blob(from_, at), at.digest.text(), at.media_type);
        if (!is_runnable(manifest)) return {};
        return selected_image{at, std::move(manifest)};
    }

    descriptor const& root_;
    S const& from_;
    platform const& wanted_;
    graph_contents contents_{root_};
    std::string there_;
};

} // namespace detail

/// As select_platform(), but reads nothing except what leads to the image: no manifest of another platform,
/// which may be missing, and no blob is looked up.
template <blob_reader_source S>
selected_image find_image(descriptor const& root, S const& from, platform const& wanted) {
    return detail::image_finder<S>{root, from, wanted}.find();
}

} // namespace shiplap

// === shiplap/export/base.hpp ===

// base: an image to build upon. Its layers lie below the new ones, its configuration is what changes start
// from, its history goes on.
//
//     layout_store images{"images"};
//     build_result result{.layers = {directory_layer{"app"}},
//                         .base = read_base(images, images.resolve("debian:12"))};
//
// Only manifest and configuration are read here. The layers are named by their descriptors, and each is
// opened when somebody reads it: a sink that has it already never does. So the store must outlive the base
// and every export of it; or pass it as a shared_ptr, which the layers then hold.

namespace shiplap {

/// What read_base() returns. The layers are stored_layers, with their diff_ids as the configuration says.
struct base_image {
    descriptor root;                        ///< of the manifest
    std::string config;                     ///< JSON, as it is written
    std::vector<history_entry> history{};   ///< what `config` says
    std::vector<any_layer_source> layers{}; ///< bottom first
    annotation_map annotations{};           ///< of the manifest
};

namespace detail {

/// Those of a base layer's annotations that are true of the blob, wherever it is, and that exporters make.
inline void drop_foreign_annotations(layer_blob& layer) {
    static constexpr std::array<std::string_view, 5> known{
        toc_digest_annotation, "io.containers.estargz.uncompressed-size", rewritten_annotation,
        "containerd.io/snapshot/overlaybd/blob-digest", "containerd.io/snapshot/overlaybd/blob-size"};
    std::erase_if(layer.annotations, [](auto const& one) {
        return std::find(known.begin(), known.end(), one.first) == known.end();
    });
}

/// Throws unless a base with this configuration is one for the platform that was asked for. One of a
/// configuration that does not tell its variant, as of many old images for arm, is.
inline void check_base_platform(platform found, platform wanted, std::string const& subject) {
    auto const text = format(normalised(found));
    if (found.variant.empty()) wanted.variant.clear();
    found = normalised(found);
    wanted = normalised(wanted);
    if (found.os != wanted.os || found.architecture != wanted.architecture || found.variant != wanted.variant)
        throw error{error_code::not_found, "select platform", format(wanted),
                    "the " + subject + " is for " + text};
}

inline layer_blob base_layer_facts(descriptor const& layer, digest const& diff_id,
                                   std::optional<zoned_time> const& created) {
    layer_blob facts{.blob = {layer.digest, layer.size},
                     .diff_id = diff_id,
                     .encoding = std::string{layer_encoding(layer.media_type)},
                     .annotations = layer.annotations,
                     .created_by = "layer of the base image",
                     .distributable = !is_foreign_layer(layer.media_type),
                     .urls = layer.urls};
    if (created) facts.created = created->at;
    return facts;
}

/// `store` or what it points to.
template <class S>
S const& pointee(S const& store) {
    return store;
}
template <class S>
S const& pointee(std::shared_ptr<S const> const& store) {
    return *store;
}

/// Reads the image that was found. Its configuration must be for `wanted`, if that is given. `contains` tells
/// which layers the store has.
template <class Store, class Contains>
base_image read_found_image(Store const& store, selected_image const& image,
                            std::optional<platform> const& wanted, Contains contains) {
    auto const& from = pointee(store);
    auto const subject = "configuration " + image.manifest.config.digest.text() + " of the base image";
    base_image out{.root = image.root,
                   .config = read_blob(from, image.manifest.config),
                   .annotations = image.manifest.annotations};
    auto const config = read_config(out.config, subject);
    out.history = config.history;
    if (wanted) check_base_platform(config.platform, *wanted, subject);

    auto const& layers = image.manifest.layers;
    if (layers.size() != config.diff_ids.size())
        throw format_error{"read base image", image.root.digest.text(),
                           "has " + std::to_string(layers.size()) + " layers, but the " + subject + " has " +
                               std::to_string(config.diff_ids.size()) + " diff_ids"};
    for (std::size_t i = 0; i < layers.size(); ++i) {
        auto facts = base_layer_facts(layers[i], config.diff_ids[i], config.created);
        facts.only_named = !contains(layers[i].digest);
        facts.is_remote = remote_source<std::remove_cvref_t<decltype(from)>>;
        if (facts.only_named && (facts.distributable || facts.urls.empty()))
            throw error{error_code::not_found, "read base image", layers[i].digest.text(),
                        "the source does not have this layer " + std::to_string(i + 1)};
        out.layers.emplace_back(blob_in_store(store, std::move(facts)));
    }
    return out;
}

template <class Store>
base_image read_base_from(Store const& store, descriptor const& root, std::optional<platform> const& wanted) {
    auto const& from = pointee(store);
    return read_found_image(store, find_image(root, from, wanted ? *wanted : host_platform()), wanted,
                            [&](digest const& layer) { return from.contains(layer); });
}

} // namespace detail

/// Reads the image `root` as a base: a manifest or, of an index, the one for `wanted`, by default this
/// machine's platform. `store` must outlive the base. Throws error{not_found} that lists the platforms there
/// are, or names what is missing; format_error for a configuration that does not fit the manifest;
/// digest_mismatch.
template <blob_reader_source S>
base_image read_base(S const& store, descriptor const& root, std::optional<platform> const& wanted = {}) {
    return detail::read_base_from(store, root, wanted);
}

template <blob_reader_source S>
base_image read_base(S const&& store, descriptor const& root,
                     std::optional<platform> const& wanted = {}) = delete; // its layers would dangle

/// The same; the layers share `store`.
template <blob_reader_source S>
base_image read_base(std::shared_ptr<S> store, descriptor const& root,
                     std::optional<platform> const& wanted = {}) {
    return detail::read_base_from(std::shared_ptr<S const>{std::move(store)}, root, wanted);
}

} // namespace shiplap

// === shiplap/image/reference.hpp ===

// reference: the name under which people and registries know an image, as in "example.com/team/app:1.0".
//
//   reference   domain "/" path [":" tag] ["@" digest]
//   domain      host [":" port]; host: labels of letters, digits and inner "-" joined by ".", or "[" IPv6 "]"
//   path        components joined by "/", at most 255 characters; a component is made of [a-z0-9]+ joined by
//               one of ".", "_", "__", or any number of "-"
//   tag         [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
//   digest      see digest.hpp
//
// What people write is shorter; parse() completes it by the rules of the Docker command line (the Go module
// distribution/reference). What stands before the first "/" is a domain if it is "localhost", has a "." or
// ":", or an upper-case letter; otherwise the domain is docker.io, where a path of one component means
// "library/...":
//
//     app                    docker.io/library/app
//     team/app:1             docker.io/team/app:1
//     localhost/app          localhost/app
//     index.docker.io/app    docker.io/library/app
//
// distribution-spec, "Pulling manifests", has the grammar of <name> and <reference>.

namespace shiplap {

namespace detail {

constexpr bool is_digit(char c) noexcept {
    return '0' <= c && c <= '9';
}
constexpr bool is_lower_alphanumeric(char c) noexcept {
    return is_digit(c) || ('a' <= c && c <= 'z');
}
constexpr bool is_upper(char c) noexcept {
    return 'A' <= c && c <= 'Z';
}
constexpr bool is_alphanumeric(char c) noexcept {
    return is_lower_alphanumeric(c) || is_upper(c);
}

template <class Predicate>
constexpr bool all_of(std::string_view text, Predicate is) noexcept {
    for (char const c : text)
        if (!is(c)) return false;
    return true;
}

constexpr bool is_domain_label(std::string_view label) noexcept {
    return !label.empty() && label.front() != '-' && label.back() != '-' &&
           all_of(label, [](char c) { return is_alphanumeric(c) || c == '-'; });
}

constexpr bool is_host(std::string_view host) noexcept {
    if (host.starts_with('['))
        return host.size() > 2 && host.ends_with(']') && all_of(host.substr(1, host.size() - 2), [](char c) {
                   return is_digit(c) || ('a' <= c && c <= 'f') || ('A' <= c && c <= 'F') || c == ':';
               });
    for (;;) {
        auto const dot = host.find('.');
        if (!is_domain_label(host.substr(0, dot))) return false;
        if (dot == host.npos) return true;
        host.remove_prefix(dot + 1);
    }
}

constexpr bool is_domain(std::string_view domain) noexcept {
    auto const colon = domain.rfind(':');
    if (colon == domain.npos || domain.ends_with(']')) return is_host(domain); // [::1] has colons of its own
    auto const port = domain.substr(colon + 1);
    return !port.empty() && all_of(port, is_digit) && is_host(domain.substr(0, colon));
}

/// [a-z0-9]+ ( separator [a-z0-9]+ )*
constexpr bool is_path_component(std::string_view component) noexcept {
    std::size_t at = 0;
    auto const word = [&] {
        auto const start = at;
        while (at < component.size() && is_lower_alphanumeric(component[at])) ++at;
        return at != start;
    };
    auto const separator = [&] {
        auto const rest = component.substr(at);
        if (rest.starts_with('-'))
            while (at < component.size() && component[at] == '-') ++at;
        else if (rest.starts_with("__"))
            at += 2;
        else if (rest.starts_with('_') || rest.starts_with('.'))
            at += 1;
        else
            return false;
        return true;
    };
    if (!word()) return false;
    while (at < component.size())
        if (!separator() || !word()) return false;
    return true;
}

constexpr bool is_tag(std::string_view tag) noexcept {
    return !tag.empty() && tag.size() <= 128 && (is_alphanumeric(tag[0]) || tag[0] == '_') &&
           all_of(tag, [](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

} // namespace detail

/// A normalised reference: domain and path are always there.
class reference {
  public:
    /// Reads and completes what a user wrote. Throws option_error that says what is wrong and what would be
    /// right.
    static reference parse(std::string_view text);

    /// A registry: "docker.io", "localhost:5000", "[::1]:5000".
    [[nodiscard]] std::string const& domain() const noexcept { return domain_; }
    /// A repository in it: "library/app".
    [[nodiscard]] std::string const& path() const noexcept { return path_; }
    /// Empty if there is none.
    [[nodiscard]] std::string const& tag() const noexcept { return tag_; }
    [[nodiscard]] std::optional<shiplap::digest> const& digest() const noexcept { return digest_; }

    /// Domain and path without tag and digest.
    [[nodiscard]] std::string name() const { return domain_ + "/" + path_; }
    /// The whole; parse() of it gives the same reference.
    [[nodiscard]] std::string text() const { return name() + suffix(); }
    /// The form that people write: without "docker.io/" and "docker.io/library/".
    [[nodiscard]] std::string familiar() const;

    /// This reference with the tag "latest" if it has neither tag nor digest.
    [[nodiscard]] reference with_default_tag() const {
        auto out = *this;
        if (tag_.empty() && !digest_) out.tag_ = "latest";
        return out;
    }

    /// The repository alone.
    [[nodiscard]] reference without_tag() const {
        auto out = *this;
        out.tag_.clear();
        out.digest_.reset();
        return out;
    }

    friend bool operator==(reference const&, reference const&) = default;

  private:
    reference() = default;

    [[nodiscard]] std::string suffix() const {
        return (tag_.empty() ? "" : ":" + tag_) + (digest_ ? "@" + digest_->text() : "");
    }

    std::string domain_, path_, tag_;
    std::optional<shiplap::digest> digest_;
};

inline reference reference::parse(std::string_view text) {
    auto const fail = [&](std::string reason) {
        return option_error{"parse reference", std::string{text}, "invalid reference format: " + reason};
    };
    if (text.empty()) throw fail("is empty, must be as in example.com/team/app:1.0");
    if (auto const scheme = text.find("://"); scheme != text.npos)
        throw fail("must not start with a scheme; write " + printable(text.substr(scheme + 3)));
    if (text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos)
        throw fail(
            "cannot specify 64-byte hexadecimal strings, they are image IDs; write docker.io/library/" +
            std::string{text});

    reference out;
    auto rest = text;
    auto const first = text.substr(0, text.find('/'));
    bool const has_domain =
        first.size() != text.size() && (first == "localhost" || first.find_first_of(".:") != first.npos ||
                                        !detail::all_of(first, [](char c) { return !detail::is_upper(c); }));
    if (has_domain) rest.remove_prefix(first.size() + 1);
    out.domain_ = has_domain && first != "index.docker.io" ? first : "docker.io";
    if (!detail::is_domain(out.domain_))
        throw fail("the registry (" + printable(out.domain_) +
                   ") must be a host name, an IPv4 address or an [IPv6 address], with a :port or without");

    auto const at = rest.find('@');
    if (at != rest.npos) {
        try {
            out.digest_ = digest::parse(rest.substr(at + 1));
        } catch (format_error const& wrong) {
            throw fail("the digest after '@' " + wrong.reason());
        }
        rest = rest.substr(0, at);
    }

    auto const colon = rest.find(':');
    auto const path = rest.substr(0, colon);
    if (!detail::all_of(path, [](char c) { return !detail::is_upper(c); }))
        throw fail("repository name (" + printable(path) + ") must be lowercase");
    out.path_ = out.domain_ == "docker.io" && path.find('/') == path.npos ? "library/" : "";
    out.path_ += path;
    for (auto components = path;;) {
        auto const slash = components.find('/');
        if (!detail::is_path_component(components.substr(0, slash)))
            throw fail(
                "repository name (" + printable(path) +
                ") must have components of a-z and 0-9, with single '.', '_', '__' or '-' inside them, "
                "joined by single '/'");
        if (slash == components.npos) break;
        components.remove_prefix(slash + 1);
    }
    if (out.path_.size() > 255) throw fail("repository name must not be more than 255 characters");

    if (colon != rest.npos) {
        out.tag_ = rest.substr(colon + 1);
        if (!detail::is_tag(out.tag_))
            throw fail(
                "the tag (" + printable(out.tag_) +
                ") must have 1 to 128 letters, digits, '_', '.' or '-', and not start with '.' or '-'");
    }
    return out;
}

inline std::string reference::familiar() const {
    if (domain_ != "docker.io") return text();
    std::string_view path = path_;
    if (path.starts_with("library/") && path.find('/', 8) == path.npos) path.remove_prefix(8);
    return std::string{path} + suffix();
}

/// An image's name in the two forms that sinks write.
struct image_name {
    std::string full{};     ///< normalised reference, "docker.io/library/app:1", or empty
    std::string ref_name{}; ///< what org.opencontainers.image.ref.name says, or empty
    friend bool operator==(image_name const&, image_name const&) = default;
};

/// Both forms of a reference, to which the tag "latest" is added if it has neither tag nor digest. The short
/// form is the tag, "tag@digest" if there are both, and the full form if there is only a digest, as
/// containerd and BuildKit write it.
inline image_name name_of(reference const& what) {
    auto const whole = what.with_default_tag();
    if (whole.tag().empty()) return {whole.text(), whole.text()};
    return {whole.text(), whole.tag() + (whole.digest() ? "@" + whole.digest()->text() : "")};
}

} // namespace shiplap

// === shiplap/sink/concept.hpp ===

// sink: where a finished image goes. Delivery is one function, copy(), that drives any sink.
//
//   concept          expression                meaning
//   image_sink       s.exists(d) -> bool       the content of descriptor d is there already, verified
//                    s.put(d, source)          takes the content of d from a replayable_source_ref, which
//                                              throws digest_mismatch if the bytes are wrong
//                    s.tag(root, name)         the image `root` shall be known as `name`, an image_name; an
//                                              empty one: by its digest
//                    s.commit()                makes all of it visible at once; before, nothing is
//
//   refinement       expression                meaning
//   arranging_sink   s.arrange(graph) -> ds    the descriptors that it wants put, in its own order; it may
//                                              leave out, reorder and repeat. Throws if it cannot hold
//                                              such an image
//   storing_sink     s.store() -> blob_store   the sink is a store: layers are packed straight into it
//   remote_sink      s.transfers() -> n        exists() and put() of configurations and layers may be called on n
//                                              threads at once; they return when the other side has confirmed.
//                                              put() may throw content_missing
//                    s.connect()               before any work is done for it: throws if nothing will be taken
//
// Children come before parents, so a sink never holds a manifest whose blobs it lacks. A sink that is
// destroyed before commit() leaves no trace.
//
// Exemplar, compiled in tests/sink/concept.cpp:
//
//     struct counting_sink {
//         std::uint64_t bytes = 0;
//         bool exists(descriptor const&) const { return false; }
//         void put(descriptor const&, replayable_source_ref from) { bytes += transfer(from, drop); }
//         void tag(descriptor const&, image_name const&) {}
//         void commit() {}
//     };
//
// Models: layout_sink, oci_archive_sink, docker_archive_sink, filesystem_sink, memory_sink, registry_sink.

namespace shiplap {

template <class S>
concept finds_content = requires(S& sink, descriptor const& which) {
    { sink.exists(which) } -> std::same_as<bool>;
};

template <class S>
concept takes_content = requires(S& sink, descriptor const& which, replayable_source_ref from) {
    sink.put(which, from);
};

template <class S>
concept takes_names = requires(S& sink, descriptor const& root, image_name const& name) {
    sink.tag(root, name);
};

template <class S>
concept commits = requires(S& sink) {
    sink.commit();
};

/// See the table above.
template <class S>
concept image_sink = finds_content<S> && takes_content<S> && takes_names<S> && commits<S>;

template <class S>
concept arranging_sink = image_sink<S> && requires(S& sink, image_graph const& graph) {
    { sink.arrange(graph) } -> std::same_as<std::vector<descriptor>>;
};

template <class S>
using store_of = std::remove_reference_t<decltype(std::declval<S&>().store())>;

template <class S>
concept storing_sink = image_sink<S> && blob_store<store_of<S>>;

template <class S>
concept remote_sink = image_sink<S> && requires(S const& sink) {
    { sink.transfers() } -> std::convertible_to<unsigned>;
} && requires(S& sink) {
    sink.connect();
};

/// A sink was given a manifest and lacks what it needs, though that was there before: put these, then the manifest again.
class content_missing : public error {
  public:
    content_missing(std::string manifest, std::vector<descriptor> what)
        : error{error_code::not_found, "put manifest", std::move(manifest),
                std::to_string(what.size()) + " of its contents, " + what.front().digest.text() +
                    " among them, vanished from the destination"},
          what_{std::move(what)} {}

    [[nodiscard]] std::vector<descriptor> const& what_is_missing() const noexcept { return what_; }

  private:
    std::vector<descriptor> what_; // at least one
};

} // namespace shiplap

// === shiplap/sink/push_target.hpp ===

// push_target: where in registries an image goes, for whoever can make a sink of that.

namespace shiplap {

struct push_target {
    std::vector<reference> names{};    ///< get their tags, and "latest" if they have none
    std::vector<reference> untagged{}; ///< repositories that get the image by its digest alone
    bool insecure = false;             ///< plain HTTP and any certificate are good enough
};

} // namespace shiplap

// === shiplap/export/env.hpp ===

// env: what an export lends from its surroundings, in one struct. Inherit and override one member:
//
//     struct my_env : default_env {
//         clamp_timestamps timestamps{{.seconds = 1'700'000'000}};
//     };
//     exporter out{gzip{}, oci_media_types{}, sha256{}, layout_sink{"app"}, my_env{}};
//
//   member       concept              default
//   executor     executor             shared_pool: one thread for each processor
//   progress     progress_observer    no_progress
//   timestamps   timestamp_policy     keep_timestamps
//   registries   way to registries    none; curl_registries of registry/curl.hpp is one. Needed to push
//
// There is no clock: nothing in an image depends on when it was made, so the same input gives the same bytes.

namespace shiplap {

/// A thread_pool that copies share. With one worker or none it has no threads: work runs in the caller.
class shared_pool {
  public:
    shared_pool() : shared_pool{std::thread::hardware_concurrency()} {}
    explicit shared_pool(unsigned workers)
        : pool_{workers > 1 ? std::make_shared<thread_pool>(workers) : nullptr} {}

    [[nodiscard]] unsigned concurrency() const noexcept { return pool_ ? pool_->concurrency() : 0; }
    void post(std::function<void()> task) {
        if (pool_)
            pool_->post(std::move(task));
        else
            task();
    }

  private:
    std::shared_ptr<thread_pool> pool_;
};

struct default_env {
    shared_pool executor{};
    no_progress progress{};
    keep_timestamps timestamps{};
};

template <class E>
concept lends_executor = requires(E& env) {
    executor_ref{env.executor};
};

template <class E>
concept lends_progress = requires(E& env) {
    progress_ref{env.progress};
};

template <class E>
concept lends_timestamps = requires(E const& env) {
    timestamps_ref{env.timestamps};
};

template <class E>
concept export_env = lends_executor<E> && lends_progress<E> && lends_timestamps<E>;

/// An env that images can be pushed with: `registries.sink(target)` makes a remote_sink of a push_target.
template <class E>
concept lends_registries = requires(E& env, push_target const& target) {
    { env.registries.sink(target) } -> remote_sink;
};

/// Any env, its members erased.
struct env_ref {
    executor_ref executor;
    progress_ref progress;
    timestamps_ref timestamps;

    env_ref() = default;
    template <export_env E>
        requires(!std::same_as<std::remove_cv_t<E>, env_ref>)
    env_ref(E& env)
    noexcept // NOLINT(google-explicit-constructor): a reference, as E& would be
        : executor{env.executor}, progress{env.progress}, timestamps{env.timestamps} {}
};

} // namespace shiplap

// === shiplap/image/attestation.hpp ===

// attestation: a statement about an image, kept beside it: what is in it (SBOM), how it was made (provenance).
//
//     index -+- image manifest                        what runs
//            +- attestation manifest                  platform unknown/unknown; an annotation names the image
//                 layers: in-toto statements          subject: the image; predicate: what is said of it
//
// A statement is JSON in the form of in-toto (attestation/spec/v1/statement.md). The manifest comes in the two
// forms that BuildKit has: as an image that nobody can run, which every registry takes, and as an artifact with
// the image as its subject (image-spec, manifest.md, "Guidelines for Artifact Usage").

namespace shiplap {

inline constexpr std::string_view spdx_predicate = "https://spdx.dev/Document";
inline constexpr std::string_view provenance_predicate = "https://slsa.dev/provenance/v1";
inline constexpr std::string_view provenance_v02_predicate = "https://slsa.dev/provenance/v0.2";

inline constexpr std::string_view in_toto_media_type = "application/vnd.in-toto+json";
/// Says what an entry of an index is beside the image that `reference_digest_annotation` names.
inline constexpr std::string_view reference_type_annotation = "vnd.docker.reference.type";
inline constexpr std::string_view reference_digest_annotation = "vnd.docker.reference.digest";

/// Bytes of the largest attestation.
inline constexpr std::size_t max_attestation_size = 40 * 1024 * 1024;

/// Something that a statement is about: a name, and digests in hexadecimal by algorithm.
struct attestation_subject {
    std::string name{};                           ///< empty: "_"
    std::map<std::string, std::string> digests{}; ///< empty: that of the image
    friend bool operator==(attestation_subject const&, attestation_subject const&) = default;
};

struct attestation {
    std::string predicate_type;                  ///< a URI
    std::string predicate{};                     ///< a JSON object, or empty
    std::vector<attestation_subject> subjects{}; ///< none: the image, under each of its names
    bool inline_only = false; ///< alone, it makes an index only where attestations belong to the image anyway
};

enum class attestation_form {
    image,    ///< with a configuration for the platform unknown/unknown
    artifact, ///< with an artifactType and a subject
};

/// The documents of all that is said about one image.
struct assembled_attestations {
    std::vector<std::string> statements;
    std::vector<descriptor> layers; ///< of the statements
    std::string config, manifest;
    descriptor config_descriptor;
    descriptor root; ///< of the manifest, as the index names it
};

/// The predicate type that a word stands for: "sbom", "provenance", or a URI. Throws option_error.
inline std::string predicate_type_named(std::string_view word) {
    if (word == "sbom") return std::string{spdx_predicate};
    if (word == "provenance") return std::string{provenance_predicate};
    if (word.find(':') == word.npos || word.find_first_of(" \t\r\n") != word.npos)
        throw option_error{"attestation", "unknown attestation type \"" + printable(word) +
                                              "\"; known are sbom, provenance and any URI"};
    return std::string{word};
}

namespace detail {

/// "a/b:c" -> "a%2Fb%3Ac", but for characters in `kept`.
inline std::string percent_encoded(std::string_view text, std::string_view kept) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (char const c : text) {
        auto const byte = static_cast<unsigned char>(c);
        if (is_alphanumeric(c) || kept.find(c) != kept.npos) {
            out += c;
        } else {
            out += '%';
            out += digits[byte >> 4];
            out += digits[byte & 15];
        }
    }
    return out;
}

} // namespace detail

/// A reference as a package URL (github.com/package-url/purl-spec):
/// "pkg:docker/example.com/app@1.0?platform=linux%2Famd64".
inline std::string purl_of(reference const& image, std::optional<platform> const& where) {
    auto name = image.familiar();
    name.resize(name.size() - (image.tag().empty() ? 0 : image.tag().size() + 1) -
                (image.digest() ? image.digest()->text().size() + 1 : 0));
    auto const tag = image.with_default_tag().tag();
    auto out = "pkg:docker/" + detail::percent_encoded(name, "/-._~") + (tag.empty() ? "" : "@" + tag);
    char separator = '?';
    auto const qualify = [&](std::string_view key, std::string const& value, std::string_view kept) {
        out += separator + std::string{key} + "=" + detail::percent_encoded(value, kept);
        separator = '&';
    };
    if (image.digest()) qualify("digest", image.digest()->text(), "-._~:");
    if (where) qualify("platform", format(*where), "-._~");
    return out;
}

/// The text of the statement of `what` about the image whose manifest is `image`. Throws format_error if the
/// predicate is no JSON object.
inline std::string statement_of(attestation const& what, descriptor const& image,
                                std::span<reference const> names) {
    std::string predicate = "null";
    if (!what.predicate.empty()) {
        auto const subject = "predicate of type " + what.predicate_type;
        auto const value = parse_json(what.predicate, subject, {max_attestation_size, true});
        static_cast<void>(json_node{value, subject}.object());
        predicate = detail::compact_text(what.predicate);
    }
    std::map<std::string, std::string> const of_image{
        {std::string{image.digest.algorithm()}, std::string{image.digest.encoded()}}};
    auto subjects = what.subjects;
    if (subjects.empty())
        for (auto const& name : names) subjects.push_back({purl_of(name, image.platform), of_image});

    auto list = detail::empty_array();
    for (auto const& [name, digests] : subjects) {
        auto entry = detail::empty_object();
        detail::add_text(entry, "name", name.empty() ? "_" : name);
        detail::add_member(entry, "digest", detail::to_json(digests.empty() ? of_image : digests));
        detail::add_item(list, std::move(entry));
    }
    auto head = detail::empty_object();
    detail::add_text(head, "_type", "https://in-toto.io/Statement/v1");
    detail::add_member(head, "predicateType", detail::json_text(what.predicate_type));
    detail::add_member(head, "subject", std::move(list));
    auto text = compact(head);
    text.pop_back();
    return text + ",\"predicate\":" + predicate +
           "}"; // to the byte as it is: numbers are not read and written anew
}

namespace detail {

inline std::string unknown_config(std::span<descriptor const> statements) {
    auto ids = empty_array();
    for (auto const& statement : statements) add_item(ids, json_text(statement.digest.text()));
    auto rootfs = empty_object();
    add_text(rootfs, "type", "layers");
    add_member(rootfs, "diff_ids", std::move(ids));
    auto out = empty_object();
    add_text(out, "architecture", "unknown");
    add_text(out, "os", "unknown");
    add_member(out, "config", empty_object());
    add_member(out, "rootfs", std::move(rootfs));
    return compact(out);
}

inline assembled_attestations
assemble_attestations_with(digest_function digest_of, std::span<attestation const> what,
                           descriptor const& image, std::span<reference const> names, attestation_form form) {
    std::vector<std::string> statements;
    std::vector<descriptor> layers;
    for (auto const& one : what) {
        statements.push_back(statement_of(one, image, names));
        layers.push_back(describe(in_toto_media_type, statements.back(), digest_of));
        layers.back().annotations = {{"in-toto.io/predicate-type", one.predicate_type}};
    }
    bool const as_artifact = form == attestation_form::artifact;
    std::string config = as_artifact ? "{}" : unknown_config(layers);
    auto config_descriptor = describe(
        as_artifact ? "application/vnd.oci.empty.v1+json" : oci_media_types::config, config, digest_of);
    if (as_artifact) config_descriptor.data = "e30="; // {}

    image_manifest manifest{
        .media_type = std::string{oci_media_types::manifest}, .config = config_descriptor, .layers = layers};
    if (as_artifact) {
        manifest.artifact_type = "application/vnd.docker.attestation.manifest.v1+json";
        manifest.subject =
            descriptor{.media_type = image.media_type, .digest = image.digest, .size = image.size};
    }
    auto text = to_text(manifest);
    auto root = describe(manifest.media_type, text, digest_of);
    root.annotations = {{std::string{reference_digest_annotation}, image.digest.text()},
                        {std::string{reference_type_annotation}, "attestation-manifest"}};
    root.platform = platform{.os = "unknown", .architecture = "unknown"};
    return {std::move(statements),        std::move(layers), std::move(config), std::move(text),
            std::move(config_descriptor), std::move(root)};
}

} // namespace detail

/// Makes the statements about an image, and the manifest that holds them, for the index beside it. `names` are
/// those of the image. Throws format_error for a predicate that is no JSON object.
template <digest_algorithm D>
assembled_attestations assemble_attestations(std::span<attestation const> what, descriptor const& image,
                                             std::span<reference const> names, attestation_form form) {
    return detail::assemble_attestations_with(&digest::of<D>, what, image, names, form);
}

} // namespace shiplap

// === shiplap/export/result.hpp ===

// result: what goes into an export and what comes out. A build_result is an image for one platform; a list of
// them (a vector, a span) is an image for several, which are joined by an index:
//
//     std::vector<build_result> results{{.layers = {directory_layer{"amd64"}}, .platform = amd64},
//                                       {.layers = {directory_layer{"arm64"}}, .platform = arm64}};
//     auto image = out(results, {.names = {"example.com/app:1.0"}});
//
//   given                                  root
//   a build_result                         its manifest
//   a build_result with attestations       an index: the image, its attestations
//   a list, even of one                    an index: the images in this order, then their attestations

namespace shiplap {

/// What an image has that exists already and is exported again. What the export says goes before this.
struct kept_facts {
    annotation_map annotations{};                ///< of its manifest
    annotation_map descriptor_annotations{};     ///< of its manifest's descriptor, in an index
    std::optional<shiplap::platform> platform{}; ///< in an index; none: that of `config`
};

/// What a build made for one platform: the input of an export.
struct build_result {
    std::vector<any_layer_source> layers{};      ///< bottom first; above those of `base`, whose times stay
    std::optional<shiplap::platform> platform{}; ///< none: that of `config`, or else this machine's
    std::optional<std::string> config{}; ///< to start from, JSON; none: that of `base`, or else a minimal one
    config_changes changes{};            ///< applied to the configuration
    std::optional<base_image> base{};    ///< without new layers and changes: that image again
    std::vector<attestation> attestations{}; ///< said about this image
    annotation_map annotations{};            ///< of its manifest, besides those of export_options
    std::vector<std::string> names{};        ///< what an export calls it whose name is `*`
    std::optional<kept_facts> kept{}; ///< this is an image: as long as `config` fits, it stays to the byte
};

/// The results of several platforms, in the order of the index.
template <class R>
concept build_results = std::convertible_to<R const&, std::span<build_result const>>;

/// Annotations for one of several platforms.
struct platform_annotations {
    shiplap::platform platform;
    annotation_map manifest{};
    annotation_map descriptor{}; ///< of the manifest's descriptor in the index
};

struct export_options {
    std::vector<std::string> names{}; ///< references, normalised as Docker does; may be empty
    annotation_map annotations{};     ///< of every manifest
    annotation_map
        descriptor_annotations{}; ///< of every manifest's descriptor: in the index, or in index.json
    std::vector<platform_annotations> for_platforms{}; ///< these go before the ones above
    annotation_map index_annotations{};
    annotation_map index_descriptor_annotations{}; ///< in index.json
    std::optional<std::int64_t> epoch{}; ///< seconds since 1970: no time in config or history is later
    bool force_compression = false;      ///< repack layers that come as blobs with the exporter's codec
    /// Layers that name URLs keep them and a media type that keeps them out of registries; otherwise all whose
    /// bytes are at hand become distributable.
    bool prefer_nondistributable = false;
    bool annotate_created = true;  ///< descriptor annotation org.opencontainers.image.created
    std::string unnamed_as{};      ///< ref.name of an image without names; empty: none
    bool by_digest = false;        ///< names have no tags: the image is known as <name>@<digest>
    std::string dangling_prefix{}; ///< one more name: <prefix>@<digest>; empty: none
    bool canonical_names = false;  ///< stores also know it as <name>@<digest>
    attestation_form attestations_as = attestation_form::image;
    bool attestations_inline = true; ///< attestations that are inline_only count, too
};

/// The image for one platform.
struct exported_platform {
    descriptor manifest; ///< with the platform
    descriptor config;
    std::vector<layer_blob> layers;         ///< bottom first
    std::optional<descriptor> attestations; ///< of the manifest that holds them
};

/// What an export made.
struct exported_image {
    descriptor root;                ///< of the manifest, or of the index
    descriptor config;              ///< of the first platform
    std::vector<layer_blob> layers; ///< of the first platform, bottom first
    std::vector<std::string> names; ///< normalised
    std::vector<std::string> warnings;
    std::vector<exported_platform> platforms; ///< in the order of the results
};

/// What is exported: one result, or a list of them. Refers to it.
struct export_input {
    std::span<build_result const> results;
    bool is_list;

    export_input(build_result const& one) // NOLINT(google-explicit-constructor): both are what is exported
        : results{&one, 1}, is_list{false} {}
    template <build_results R>
    export_input(R const& several) // NOLINT(google-explicit-constructor)
        : results{several}, is_list{true} {}
    export_input(std::span<build_result const> some, bool as_list) : results{some}, is_list{as_list} {}
};

} // namespace shiplap

// === shiplap/export/plan.hpp ===

// plan: all that can be decided before anything is packed: whether there will be an index, which annotations
// each manifest gets, and what contradicts what.

namespace shiplap::detail {

struct export_plan {
    std::vector<image_options> images; ///< of each result
    bool as_index = false;
    std::vector<std::string> warnings;
};

inline image_options options_for(build_result const& result, export_options const& options) {
    image_options out{.platform = result.platform,
                      .config = result.config,
                      .changes = result.changes,
                      .annotations = options.annotations,
                      .descriptor_annotations = options.descriptor_annotations,
                      .epoch = options.epoch};
    if (auto const& base = result.base) {
        out.base_history = base->history;
        if (!out.config)
            out.config = result.layers.empty()
                             ? base->config
                             : inherited_config(base->config, "configuration of the base image");
    }
    if (result.kept) {
        if (!out.base_history) out.base_history.emplace(); // nothing in it is of another image
        out.indexed_as = result.kept->platform;
    }
    return out;
}

/// Whether what is said about the image of one result makes an index of it.
inline bool makes_index(build_result const& result, export_options const& options) {
    for (auto const& one : result.attestations)
        if (options.attestations_inline || !one.inline_only) return true;
    return false;
}

inline platform planned_platform(image_options const& image) {
    if (image.indexed_as) return normalised(*image.indexed_as);
    if (image.config) return checked_platform(*image.config, image.platform);
    return normalised(image.platform.value_or(host_platform()));
}

inline void assign_all(annotation_map& to, annotation_map const& from) {
    for (auto const& [key, value] : from) to.insert_or_assign(key, value);
}

/// Applies the annotations for `wanted.platform`; false if there is no such platform.
inline bool annotate_platform(export_plan& plan, std::vector<std::string> const& platforms,
                              platform_annotations const& wanted) {
    bool found = false;
    for (std::size_t i = 0; i < platforms.size(); ++i) {
        if (platforms[i] != format(normalised(wanted.platform))) continue;
        found = true;
        assign_all(plan.images[i].annotations, wanted.manifest);
        assign_all(plan.images[i].descriptor_annotations, wanted.descriptor);
    }
    return found;
}

/// Every image must have a platform, which only a lone one may take from this machine.
inline void check_platforms(std::vector<image_options> const& images) {
    for (std::size_t i = 0; i < images.size(); ++i) {
        auto const& [asked, config] = std::tie(images[i].platform, images[i].config);
        if (images.size() > 1 && !asked && !config)
            throw option_error{
                "export", "result " + std::to_string(i + 1),
                "unable to export multiple refs, missing platforms mapping: give it a platform "
                "or a configuration"};
        if (asked && (asked->os.empty() || asked->architecture.empty()))
            throw option_error{"export", "result " + std::to_string(i + 1),
                               "invalid platform value '" + printable(format(*asked)) +
                                   "': it needs an os and an architecture, as in linux/arm64"};
        if (config) static_cast<void>(planned_platform(images[i])); // throws for one that is none
    }
}

/// The annotations of `wanted` have no place: names each.
inline void warn_left_out(export_plan& plan, platform_annotations const& wanted, std::string const& reason) {
    for (auto const* annotations : {&wanted.manifest, &wanted.descriptor})
        for (auto const& [key, value] : *annotations)
            plan.warnings.push_back("annotation " + printable(key) + " is for platform " +
                                    format(wanted.platform) + reason + ", so it is left out");
}

/// Adds what the image has and what nothing else was said of.
inline void keep_annotations(export_plan& plan, image_options& image, kept_facts const& kept,
                             media_type_table const& types) {
    image.annotations.insert(kept.annotations.begin(), kept.annotations.end());
    if (types.layer_annotations)
        image.descriptor_annotations.insert(kept.descriptor_annotations.begin(),
                                            kept.descriptor_annotations.end());
    else if (!kept.descriptor_annotations.empty())
        plan.warnings.push_back("Docker's media types have no place for the annotations of the image for " +
                                format(planned_platform(image)) + " in its index: they are left out");
}

/// Throws option_error for what cannot be exported like that.
inline export_plan plan_export(export_input const& input, export_options const& options,
                               media_type_table const& types) {
    export_plan plan;
    if (input.results.empty())
        throw option_error{"export", "", "invalid empty platforms index for exporter: there is no result"};
    for (auto const& result : input.results) plan.images.push_back(options_for(result, options));
    check_platforms(plan.images);
    bool const has_attestations = [&] {
        for (auto const& result : input.results)
            if (input.is_list ? !result.attestations.empty() : makes_index(result, options)) return true;
        return false;
    }();
    plan.as_index = input.is_list || has_attestations;
    if (has_attestations && types.index != oci_media_types::index)
        throw option_error{"oci-mediatypes", "cannot export attestations with \"oci-mediatypes=false\""};

    if (!plan.as_index) {
        if (!options.index_annotations.empty() || !options.index_descriptor_annotations.empty())
            throw option_error{"annotation", "index annotations not supported for single platform export"};
        for (auto const& wanted : options.for_platforms)
            warn_left_out(plan, wanted, " of a multi-platform image; this one has a single manifest");
    } else {
        std::vector<std::string> platforms;
        for (auto const& image : plan.images) {
            platforms.push_back(format(planned_platform(image)));
            for (std::size_t i = 0; i + 1 < platforms.size(); ++i)
                if (platforms[i] == platforms.back())
                    plan.warnings.push_back("the platform " + platforms[i] +
                                            " is there twice; readers will take the first one");
        }
        for (auto const& wanted : options.for_platforms) {
            if (annotate_platform(plan, platforms, wanted)) continue;
            if (platforms.size() > 1)
                throw option_error{"annotation", "invalid annotation: no platform " +
                                                     format(normalised(wanted.platform)) +
                                                     " found in source"};
            warn_left_out(plan, wanted, ", which is not that of this image");
        }
    }
    for (std::size_t i = 0; i < plan.images.size(); ++i) {
        auto& image = plan.images[i];
        assign_all(image.annotations, input.results[i].annotations);
        if (auto const& kept = input.results[i].kept) keep_annotations(plan, image, *kept, types);
    }
    return plan;
}

} // namespace shiplap::detail

// === shiplap/export/in_order.hpp ===

// in_order: work on several layers side by side, whose results are taken in the order in which it was given.
//
//     in_order<ready_layer> lanes{env, layers.size()};
//     for (auto const& layer : layers) lanes.add([&, layer](env_ref lent) { return make(layer, lent); }, take);
//     lanes.finish(take);
//
// So small layers, each of which is a block or two, keep all processors busy. Two at a time, and one more for every eight
// workers: each may keep blocks in memory, of which a share of the usual amount is left for it.

namespace shiplap::detail {

template <class Result>
class in_order {
  public:
    /// Lends of `env`, which outlives it, for work on `count` layers.
    in_order(env_ref env, std::size_t count)
        : lanes_{lanes_for(env.executor.concurrency(), count)},
          told_{env.progress, &stopped_},
          env_{env},
          queue_{env.executor} {
        env_.executor = env.executor.shared_by(lanes_);
        env_.progress = progress_ref{told_};
    }
    in_order(in_order const&) = delete; // observers refer to it
    in_order& operator=(in_order const&) = delete;
    /// Work that is under way ends at its next sign of progress.
    ~in_order() {
        stopped_ = true;
        queue_.abandon();
    }

    /// Has `work(env)` done, somewhere and some time. `take(result)` is called, here, for what is done by then; both may
    /// throw, and what `work` throws comes out in its turn.
    template <class Take>
    void add(std::function<Result(env_ref)> work, Take& take) {
        if (queue_.size() == lanes_) take(next());
        queue_.post({std::move(work), env_, std::nullopt});
        if (lanes_ == 1) take(next());
    }

    template <class Take>
    void finish(Take& take) {
        while (!queue_.empty()) take(next());
    }

  private:
    struct job {
        std::function<Result(env_ref)> work;
        env_ref env;
        std::optional<Result> result;
        void run() { result.emplace(work(env)); }
        [[nodiscard]] static std::size_t weight() noexcept { return 0; }
    };

    /// Passes on what happens, until that is of no use any more.
    struct stoppable_observer {
        progress_ref to;
        std::atomic<bool> const* stopped;
        void operator()(progress_event const& event) const {
            if (*stopped) throw error{error_code::source_changed, "pack", "layer", "another layer failed"};
            to(event);
        }
        [[nodiscard]] bool wants_totals() const noexcept { return to.wants_totals(); }
    };

    static unsigned lanes_for(unsigned workers, std::size_t count) noexcept {
        return workers < 2 ? 1 : static_cast<unsigned>(std::clamp<std::size_t>(count, 1, 2 + workers / 8));
    }

    Result next() { return std::move(*queue_.take().result); }

    unsigned lanes_;
    std::atomic<bool> stopped_ = false;
    stoppable_observer told_;
    env_ref env_;
    block_queue<job> queue_;
};

} // namespace shiplap::detail

// === shiplap/layer/pack.hpp ===

// pack: layer source -> blob. One read of every source byte, every digest in that pass:
//
//     source -> meter -> plain tap -> encoder -> packed tap -> blob
//                        (diff_id)               (digest, size)
//
// Where the encoder changes nothing (uncompressed) both digests are one, and it is computed once. pack_each() packs
// one source in several ways, still with one read and one digest of the plain bytes.
// Backpressure is the call stack; parallelism lives inside the encoder, which posts blocks to the executor, and in the
// taps, which hash there. What is left to the thread that calls is reading and writing.

namespace shiplap {

namespace detail {

/// A timestamp_policy that remembers the newest time that it let through, as near as a history can have it.
struct newest_timestamp {
    timestamps_ref policy;
    std::optional<timestamp>* newest;
    timestamp operator()(timestamp time) const {
        auto const mapped = policy(time);
        auto const dated = std::clamp(mapped, first_rfc3339, last_rfc3339);
        if (!*newest || dated > **newest) *newest = dated;
        return mapped;
    }
    [[nodiscard]] bool keeps() const noexcept { return policy.keeps(); }
    [[nodiscard]] std::optional<timestamp> latest() const noexcept { return policy.latest(); }
    [[nodiscard]] timestamps_ref rule() const noexcept { return policy.rule(); }
};

inline annotation_map rewrite_annotations(std::optional<timestamp> const& latest) {
    if (!latest) return {};
    return {{rewritten_annotation, std::to_string(latest->seconds)}};
}

/// Takes the plain bytes of a layer and makes a blob of them, which is not there before commit().
template <digest_algorithm D>
struct packer {
    packer() = default;
    packer(packer const&) = delete;
    packer& operator=(packer const&) = delete;
    virtual ~packer() = default;
    virtual void write(bytes_view plain) = 0;
    /// Call once; `plain` has seen all that was written.
    virtual layer_blob commit(tap<D> plain) = 0;
};

template <digest_algorithm D, codec C, blob_store S>
class encoding_packer final : public packer<D> {
  public:
    encoding_packer(C const& how, S& store, executor_ref executor)
        : blob_{store.open()}, encoder_{how.encoder(executor)}, packed_{executor} {}

    void write(bytes_view plain) override { pipe_.write(plain); }

    layer_blob commit(tap<D> plain) override {
        pipe_.finish();
        if constexpr (extending_encoder<encoder_of<C>>) {
            null_sink nowhere;
            pipeline extension{plain, nowhere};
            encoder_.write_extension(extension);
        }
        layer_blob out{packed_.facts(), plain.facts().digest, std::string{C::encoding}};
        if constexpr (annotating_encoder<encoder_of<C>>) out.annotations = encoder_.annotations();
        blob_.commit(out.blob);
        return out;
    }

  private:
    blob_writer_of<S> blob_;
    encoder_of<C> encoder_;
    gathering_tap<D> packed_;
    pipeline<encoder_of<C>, gathering_tap<D>, blob_writer_of<S>> pipe_{encoder_, packed_, blob_};
};

/// Where nothing is encoded, what the plain tap saw is the blob.
template <digest_algorithm D, codec C, blob_store S>
    requires std::same_as<encoder_of<C>, identity_stage>
class encoding_packer<D, C, S> final : public packer<D> {
  public:
    encoding_packer(C const&, S& store, executor_ref) : blob_{store.open()} {}

    void write(bytes_view plain) override { blob_.write(plain); }

    layer_blob commit(tap<D> plain) override {
        auto const facts = plain.facts();
        blob_.commit(facts);
        return {facts, facts.digest, std::string{C::encoding}};
    }

  private:
    blob_writer_of<S> blob_;
};

/// Several packers as one byte_sink.
template <digest_algorithm D>
struct packers {
    std::span<std::unique_ptr<packer<D>> const> all;
    void write(bytes_view plain) {
        for (auto const& one : all) one->write(plain);
    }
};

/// One pass over `source`, into all packers; returns what each has made.
template <digest_algorithm D, layer_source L, class Env>
std::vector<layer_blob> pack_with(std::span<std::unique_ptr<packer<D>> const> into, L const& source,
                                  Env& env) {
    progress_ref const progress{env.progress};
    std::optional<std::uint64_t> total;
    if constexpr (sized_layer<L>)
        if (auto const size = progress.wants_totals() ? source.estimated_size() : 0; size != 0) total = size;
    activity told{progress, "pack", source.description(), total};

    std::optional<timestamp> newest;
    newest_timestamp const time{timestamps_ref{env.timestamps}, &newest};
    meter metered{told};
    gathering_tap<D> plain{executor_ref{env.executor}};
    packers<D> out{into};
    pipeline pipe{metered, plain, out};
    source.write_tar(pipe, layer_context{timestamps_ref{time}, progress});
    pipe.finish();

    std::vector<layer_blob> made;
    made.reserve(into.size());
    for (auto const& one : into) {
        made.push_back(one->commit(plain.seen()));
        made.back().created = newest;
        made.back().annotations.merge(rewrite_annotations(time.latest()));
    }
    told.finish();
    return made;
}

template <digest_algorithm D, codec C, blob_store S>
std::unique_ptr<packer<D>> make_packer(C const& how, S& store, executor_ref executor) {
    return std::make_unique<encoding_packer<D, C, S>>(how, store, executor);
}

} // namespace detail

/// Packs what `source` writes with codec `how` into `store`, and says what came out. `env` lends executor,
/// progress and timestamps (export/env.hpp). When it throws, `store` holds nothing of the layer.
template <digest_algorithm D, layer_source L, codec C, blob_store S, class Env>
layer_blob pack(L const& source, C const& how, S& store, Env& env) {
    std::array const packers{detail::make_packer<D>(how, store, executor_ref{env.executor})};
    return std::move(detail::pack_with<D>(packers, source, env).front());
}

/// Packs it once with each codec of `ways`, a range of variants of codecs; the results are in that order. When it
/// throws, some of them may be in `store`.
template <digest_algorithm D, layer_source L, class Ways, blob_store S, class Env>
std::vector<layer_blob> pack_each(L const& source, Ways const& ways, S& store, Env& env) {
    executor_ref const executor{env.executor};
    std::vector<std::unique_ptr<detail::packer<D>>> packers;
    packers.reserve(std::size(ways));
    for (auto const& way : ways)
        packers.push_back(
            std::visit([&](auto const& how) { return detail::make_packer<D>(how, store, executor); }, way));
    return detail::pack_with<D>(packers, source, env);
}

} // namespace shiplap

// === shiplap/export/ready_layer.hpp ===

// ready_layer: from the layers of a build to blobs, each packed or taken as it is.
//
//   layer                            becomes
//   not packed yet                   packed with the exporter's codec
//   stored, of the base              the same blob; with force_compression packed anew unless the codec made it
//   stored, above the base           the same; and where times are limited packed anew, with those times,
//                                    unless its annotation says that this was done already
//   stored, but only named by URLs   stays where it is; an error if its times were to change
//
// What is packed anew is a new blob: it is distributable and has no URLs.

namespace shiplap::detail {

/// Whether a packed layer is what codec C would make: the same encoding, and indexed if C's are. The level
/// does not count.
template <codec C>
bool is_packed_as(layer_blob const& facts) {
    bool const is_indexed = facts.encoding == "gzip" && facts.annotations.contains(toc_digest_annotation);
    return facts.encoding == C::encoding && is_indexed == annotating_encoder<encoder_of<C>>;
}

/// Whether a packed layer may hold times that are to be changed.
inline bool needs_rewriting(layer_blob const& facts, timestamps_ref time) {
    if (time.keeps()) return false;
    auto const limit = time.latest();
    auto const mark = facts.annotations.find(rewritten_annotation);
    return !limit || mark == facts.annotations.end() || mark->second != std::to_string(limit->seconds);
}

/// What the history says of a stored layer does not depend on how it is packed.
inline void inherit_history(layer_blob& packed, layer_blob const& from) {
    packed.created_by = from.created_by;
    packed.created = from.created;
}

/// A layer that is ready for assembly.
struct ready_layer {
    layer_blob facts;
    std::optional<any_layer_source> elsewhere{}; ///< not in the store; used as it is
};

/// Whether a layer has to be packed for an export with codec C; `stored` says what is known of one that is packed already.
/// Throws error{unsupported} if that must be and cannot.
template <codec C>
bool needs_packing(std::optional<layer_blob> const& stored, bool force, timestamps_ref time) {
    if (!stored) return true;
    bool const rewrite = needs_rewriting(*stored, time);
    if (rewrite && stored->only_named)
        throw error{error_code::unsupported, "rewrite timestamps", stored->blob.digest.text(),
                    "the layer is not here, only named by URLs, from which nothing is fetched"};
    return rewrite || (force && !is_packed_as<C>(*stored) && !stored->only_named);
}

/// Packs one layer, unless it is fine as it is. `env` is an env_ref, so that this is compiled once.
template <digest_algorithm D, codec C, blob_store S>
ready_layer make_ready(any_layer_source const& layer, C const& how, S& store, bool force, env_ref env) {
    auto const stored = layer.stored();
    if (!needs_packing<C>(stored, force, env.timestamps)) return {*stored, layer};
    ready_layer ready{pack<D>(layer, how, store, env)};
    if (stored) inherit_history(ready.facts, *stored);
    return ready;
}

/// Does something with the layer of this number, counted from the bottom; errors name it.
template <class Action>
auto naming_layer(std::size_t number, any_layer_source const& layer, Action action) {
    try {
        return action();
    } catch (error& failure) {
        failure.within("layer " + std::to_string(number) + " (" + printable(layer.description()) + ")");
        throw;
    }
}

/// The layers that were made ready for the platforms of one image, so that what several have in common is packed once.
class shared_layers {
  public:
    /// What became of this source, or of another with the same packed bytes.
    [[nodiscard]] std::optional<ready_layer> find(any_layer_source const& source) const {
        auto const stored = source.stored();
        for (auto const& [known, ready] : layers_) {
            if (known.is_same_as(source)) return ready;
            if (!are_same(known, source)) continue;
            if (ready.elsewhere) return ready_layer{*stored, source};
            auto same = ready;
            inherit_history(same.facts, *stored);
            return same;
        }
        return {};
    }
    /// Whether two sources come to the same packed bytes, as far as can be told before.
    [[nodiscard]] static bool are_same(any_layer_source const& one, any_layer_source const& other) {
        auto const stored = other.stored();
        return one.is_same_as(other) || (stored && is_same_blob(one.stored(), *stored));
    }
    void add(any_layer_source source, ready_layer ready) {
        layers_.emplace_back(std::move(source), std::move(ready));
    }

  private:
    static bool is_same_blob(std::optional<layer_blob> const& one, layer_blob const& other) {
        return one && one->blob.digest == other.blob.digest && one->urls == other.urls &&
               one->diff_id == other.diff_id && one->encoding == other.encoding &&
               one->annotations == other.annotations;
    }

    std::vector<std::pair<any_layer_source, ready_layer>> layers_;
};

/// How many layers do not stay as they are, at most; `all` if packed ones may be packed anew.
inline std::size_t count_to_pack(std::vector<any_layer_source> const& layers, bool all) {
    return static_cast<std::size_t>(std::count_if(layers.begin(), layers.end(),
                                                  [&](auto const& layer) { return all || !layer.stored(); }));
}

/// Hands each layer to `take` as soon as it and those below it are ready, bottom first.
template <digest_algorithm D, codec C, blob_store S, class Env, class Take>
void pack_all(build_result const& result, C const& how, S& store, bool force, Env& env, shared_layers& shared,
              Take& take) {
    bool const rewrites = !timestamps_ref{env.timestamps}.keeps();
    auto to_pack = count_to_pack(result.layers, force || rewrites);
    if (result.base) to_pack += count_to_pack(result.base->layers, force);

    keep_timestamps const keep; // the base was made when it was made
    std::vector<any_layer_source> under_way;
    in_order<ready_layer> lanes{env_ref{env}, to_pack};
    std::size_t number = 0;
    auto const start = [&](any_layer_source const& layer, bool is_base, auto& then) {
        lanes.add(
            [&, layer, is_base, place = ++number](env_ref lent) {
                if (is_base) lent.timestamps = timestamps_ref{keep};
                return naming_layer(place, layer,
                                    [&] { return make_ready<D>(layer, how, store, force, lent); });
            },
            then);
    };

    if (result.base) {
        auto take_base = [&](ready_layer ready) {
            if (ready.elsewhere) drop_foreign_annotations(ready.facts);
            take(std::move(ready));
        };
        for (auto const& layer : result.base->layers) start(layer, true, take_base);
        lanes.finish(take_base);
    }
    auto take_own = [&](ready_layer ready) {
        shared.add(under_way.front(), ready);
        under_way.erase(under_way.begin());
        take(std::move(ready));
    };
    for (auto const& layer : result.layers) {
        auto const same = [&](any_layer_source const& other) {
            return shared_layers::are_same(other, layer);
        };
        if (shared.find(layer) || std::any_of(under_way.begin(), under_way.end(), same)) {
            lanes.finish(take_own);
            ++number;
            take(*shared.find(layer));
            continue;
        }
        under_way.push_back(layer);
        start(layer, false, take_own);
    }
    lanes.finish(take_own);
}

/// Whether a layer goes by its distributable media type, and registries get it: see
/// export_options::prefer_nondistributable.
inline void choose_distribution(layer_blob& layer, export_options const& options,
                                media_type_table const& types, std::vector<std::string>& warnings) {
    auto const warn = [&](std::string const& what) {
        auto text = "layer " + layer.blob.digest.text() + " " + what;
        if (std::find(warnings.begin(), warnings.end(), text) == warnings.end())
            warnings.push_back(std::move(text));
    };
    layer.distributable = !layer.only_named;
    if (layer.only_named)
        return warn("is only named by URLs, from which nothing is fetched: it stays non-distributable");
    if (options.prefer_nondistributable && !layer.urls.empty()) {
        layer.distributable = layer.encoding == "zstd" && types.manifest == docker_media_types::manifest;
        if (layer.distributable)
            warn("becomes distributable: Docker has no media type for a non-distributable one in zstd");
    }
    if (layer.distributable) layer.urls.clear();
}

} // namespace shiplap::detail

// === shiplap/sink/overall_progress.hpp ===

// overall_progress: how far the delivery of a whole image is, beside the activities of its contents. What turns out to be
// there already counts as less to do, so that rate and remaining time are those of the bytes that move.

namespace shiplap::detail {

/// Activity "deliver", the root's digest as subject. Used on several threads at once.
class overall_progress {
  public:
    explicit overall_progress(progress_ref progress) : progress_{progress} {}

    /// What the image has in all; known only after some of it may have gone.
    void expect(descriptor const& root, std::uint64_t bytes) {
        std::lock_guard const lock{mutex_};
        bytes_ = bytes;
        told_.emplace(progress_, "deliver", root.digest.text(), left());
        told_->advance(moved_);
    }
    void moved(std::uint64_t bytes) {
        std::lock_guard const lock{mutex_};
        moved_ += bytes;
        if (told_) told_->advance(bytes);
    }
    /// These need not move.
    void spared(std::uint64_t bytes) {
        std::lock_guard const lock{mutex_};
        spared_ += bytes;
        if (told_) told_->expect(left());
    }
    void finish() {
        std::lock_guard const lock{mutex_};
        if (told_) told_->finish();
    }

  private:
    [[nodiscard]] std::uint64_t left() const noexcept { return bytes_ > spared_ ? bytes_ - spared_ : 0; }

    progress_ref progress_;
    std::mutex mutex_;
    std::optional<activity> told_;
    std::uint64_t bytes_ = 0, moved_ = 0, spared_ = 0;
};

} // namespace shiplap::detail

// === shiplap/store/read_ahead.hpp ===

// read_ahead: reads a source on a thread of its own, a few pieces ahead of who wants the bytes. So a verified_source is
// hashed while what it gave before is on its way through a socket: hashing takes longer than sending.

namespace shiplap {

/// A replayable_source. The thread starts with the first read() and ends with the last byte; what `R` throws comes out of
/// read() behind the bytes before it.
template <replayable_source R>
class read_ahead {
  public:
    explicit read_ahead(R from) : self_{std::make_unique<state>(std::move(from))} {}

    std::size_t read(bytes_span into) { return self_->read(into); }
    void rewind() { self_->rewind(); }

  private:
    static constexpr std::size_t most_pieces = 3,
                                 piece_size = 2 * transfer_size; // smaller ones wake threads too often

    class state {
      public:
        explicit state(R from) : from_{std::move(from)} {}
        state(state const&) = delete; // the thread refers to this
        state& operator=(state const&) = delete;
        ~state() { stop(); }

        std::size_t read(bytes_span into) {
            if (into.empty()) return 0;
            if (!started_) start();
            {
                std::unique_lock lock{mutex_};
                changed_.wait(lock, [this] { return filled_ != taken_ || ended_; });
                if (filled_ == taken_ && failure_) std::rethrow_exception(failure_);
                if (filled_ == taken_) return 0;
            }
            auto const& next = pieces_[taken_ % most_pieces]; // ours until it counts as taken
            auto const n = std::min(into.size(), next.size - at_);
            std::memcpy(into.data(), next.bytes.get() + at_, n);
            at_ += n;
            if (at_ == next.size) {
                at_ = 0;
                std::lock_guard const lock{mutex_};
                ++taken_;
                changed_.notify_one();
            }
            return n;
        }

        void rewind() {
            stop();
            from_.rewind();
            filled_ = taken_ = at_ = 0;
            started_ = stopped_ = ended_ = false;
            failure_ = nullptr;
        }

      private:
        struct piece {
            std::unique_ptr<std::byte[]> bytes;
            std::size_t size = 0;
        };

        void start() {
            for (auto& one : pieces_)
                if (!one.bytes) one.bytes = std::make_unique_for_overwrite<std::byte[]>(piece_size);
            thread_ = std::thread{[this] { work(); }};
            started_ = true;
        }
        void stop() {
            {
                std::lock_guard const lock{mutex_};
                stopped_ = true;
                changed_.notify_one();
            }
            if (thread_.joinable()) thread_.join();
        }

        void work() {
            try {
                while (fill()) {
                }
            } catch (...) {
                failure_ = std::current_exception(); // seen by the reader only with ended_
            }
            std::lock_guard const lock{mutex_};
            ended_ = true;
            changed_.notify_one();
        }
        // False when there is nothing more to do.
        bool fill() {
            {
                std::unique_lock lock{mutex_};
                changed_.wait(lock, [this] { return filled_ - taken_ < most_pieces || stopped_; });
                if (stopped_) return false;
            }
            auto& next = pieces_[filled_ % most_pieces]; // ours until it counts as filled
            next.size = from_.read({next.bytes.get(), piece_size});
            if (next.size == 0) return false;
            std::lock_guard const lock{mutex_};
            ++filled_;
            changed_.notify_one();
            return true;
        }

        R from_;
        std::array<piece, most_pieces> pieces_{};
        std::size_t at_ = 0; // bytes taken of the piece that is being taken
        std::thread thread_;
        bool started_ = false;

        std::mutex mutex_; // of what follows
        std::condition_variable changed_;
        std::uint64_t filled_ = 0, taken_ = 0; // pieces
        bool stopped_ = false, ended_ = false;
        std::exception_ptr failure_;
    };

    std::unique_ptr<state> self_; // stays where it is when this is moved
};

} // namespace shiplap

// === shiplap/sink/copy.hpp ===

// copy: delivers an image from where it is to where it shall be. The one loop behind export, push, pull,
// convert and archive:
//
//     copy(root, names, store, layout_sink{"app-layout"}, env);
//
//   1. Follow the descriptors from `root` (read_graph): all manifests are verified, nothing is missing.
//   2. Put what the sink does not have: configurations and layers, then manifests, then indexes, the root last;
//      or what an arranging_sink asks for, in its order. Every byte is verified on its way, unless the source
//      owns it. A remote_sink gets several configurations and layers at once, and manifests when all of those have
//      arrived.
//   3. Tag the root with each name, and commit.
//
// Nothing is put if the source is the sink's own store: everything is where it belongs.

namespace shiplap {

namespace detail {

/// Another content failed, so this one is of no use.
struct copy_stopped {};

/// What the contents of one image have in common on their way to a remote_sink.
struct delivery_course {
    overall_progress whole;
    std::atomic<bool> stopped = false;
};

/// A source that tells how far its reader is: what is read a second time does not count. Throws copy_stopped when the
/// bytes are not wanted any more.
template <replayable_source R>
class counted_source {
  public:
    counted_source(R from, std::uint64_t size, activity& told, delivery_course* course)
        : from_{std::move(from)}, size_{size}, told_{told}, course_{course} {}

    std::size_t read(bytes_span into) {
        if (course_ != nullptr && course_->stopped) throw copy_stopped{};
        auto const n = from_.read(into);
        at_ += n;
        if (at_ <= furthest_) return n;
        auto const more = at_ - std::exchange(furthest_, at_);
        told_.advance(more);
        if (course_ == nullptr) return n;
        course_->whole.moved(more);
        if (at_ == size_) told_.wait();
        return n;
    }
    /// Bytes that were never asked for.
    [[nodiscard]] std::uint64_t spared() const noexcept { return size_ - furthest_; }
    void rewind() {
        from_.rewind();
        at_ = 0;
    }

  private:
    R from_;
    std::uint64_t size_, at_ = 0, furthest_ = 0;
    activity& told_;
    delivery_course* course_;
};

/// A content that somebody is about to read.
template <replayable_source R>
struct opened_content {
    R reader;
    bool is_certain; // need not be verified
};

/// What is owned stays so, but may come to be at any time: so this is asked first.
template <blob_reader_source From>
opened_content<blob_reader_of<From>> open_content(descriptor const& what, From const& from) {
    bool const is_certain = is_owned(from, {what.digest, what.size});
    return {from.reader(what.digest), is_certain};
}

/// Hashing fewer bytes is soon done.
inline constexpr std::uint64_t worth_a_thread = 4U << 20;

/// Puts one content, unless it is there already. Knows nothing of other contents, so that several can be
/// under way at once.
template <blob_reader_source From, image_sink To>
void copy_content(descriptor const& what, From const& from, To& to, progress_ref progress,
                  std::optional<opened_content<blob_reader_of<From>>> opened = std::nullopt,
                  delivery_course* course = nullptr) {
    activity told{progress, "copy", what.digest.text(), what.size};
    auto spared = what.size;
    if (!to.exists(what)) {
        auto const put = [&](auto bytes) {
            counted_source source{std::move(bytes), what.size, told, course};
            to.put(what, source);
            spared = source.spared();
        };
        auto content = opened ? std::move(*opened) : open_content(what, from);
        if (content.is_certain) {
            put(std::move(content.reader));
        } else {
            verified_source verified{std::move(content.reader), what.digest, what.size};
            if (course != nullptr && what.size >= worth_a_thread)
                put(read_ahead{std::move(verified)});
            else
                put(std::move(verified));
        }
    }
    if (course != nullptr) course->whole.spared(spared);
    told.finish();
}

/// Contents on their way to a remote_sink, several at once. They set off with add(), wherever the caller is then; the
/// first failure ends them all.
template <blob_reader_source From, remote_sink To>
class background_copy {
  public:
    background_copy(From const& from, To& to, progress_ref progress)
        : from_{from}, to_{to}, progress_{progress}, course_{overall_progress{progress}} {}
    background_copy(background_copy const&) = delete;
    background_copy& operator=(background_copy const&) = delete;
    ~background_copy() {
        course_.stopped = true;
        join();
    }

    /// `opened`: its reader, for who is about to move the content elsewhere.
    void add(descriptor what, std::optional<blob_reader_of<From>> opened = std::nullopt) {
        std::lock_guard const lock{mutex_};
        if (failure_) std::rethrow_exception(failure_); // no use in making more
        if (!added_.insert(what.digest).second) return; // on its way, or there
        item next{std::move(what), std::nullopt};
        if (opened && is_owned(from_, {next.what.digest, next.what.size}))
            next.opened.emplace(open_content(next.what, from_));
        else if (opened)
            next.opened.emplace(opened_content<blob_reader_of<From>>{std::move(*opened), false});
        waiting_.push_back(std::move(next));
        if (waiting_.size() > idle_ && workers_.size() < std::max(1U, static_cast<unsigned>(to_.transfers())))
            workers_.emplace_back([this] { work(); });
        wake_.notify_one();
    }

    /// Until all have arrived. Throws what went wrong first. Nothing can be added after it.
    void wait() {
        join();
        if (failure_) std::rethrow_exception(failure_);
    }

    /// Of all that was and will be delivered.
    [[nodiscard]] delivery_course& course() noexcept { return course_; }

  private:
    struct item {
        descriptor what;
        std::optional<opened_content<blob_reader_of<From>>> opened;
    };

    void join() {
        {
            std::lock_guard const lock{mutex_};
            complete_ = true;
        }
        wake_.notify_all();
        for (auto& worker : workers_)
            if (worker.joinable()) worker.join();
    }

    void work() {
        std::unique_lock lock{mutex_};
        for (;;) {
            ++idle_;
            wake_.wait(lock, [this] { return complete_ || course_.stopped || !waiting_.empty(); });
            --idle_;
            if (course_.stopped || waiting_.empty()) return;
            auto next = std::move(waiting_.front());
            waiting_.pop_front();
            lock.unlock();
            try {
                copy_content(next.what, from_, to_, progress_, std::move(next.opened), &course_);
                lock.lock();
            } catch (...) {
                lock.lock();
                if (!failure_) failure_ = std::current_exception();
                course_.stopped = true;
                wake_.notify_all();
            }
        }
    }

    From const& from_;
    To& to_;
    progress_ref progress_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::set<digest> added_;
    std::list<item> waiting_;
    std::vector<std::thread> workers_;
    std::size_t idle_ = 0;
    bool complete_ = false;
    delivery_course course_;
    std::exception_ptr failure_;
};

/// Puts a manifest or index; first, once more, what a sink has lost of what belongs to it.
template <blob_reader_source From, image_sink To>
void copy_document(descriptor const& what, From const& from, To& to, progress_ref progress,
                   delivery_course& course) {
    for (unsigned losses = 0;; ++losses) {
        try {
            return copy_content(what, from, to, progress, std::nullopt, &course);
        } catch (content_missing const& lost) {
            if (losses == 3) throw;
            for (auto const& child : lost.what_is_missing())
                if (is_document(child))
                    copy_document(child, from, to, progress, course);
                else
                    copy_content(child, from, to, progress);
        }
    }
}

/// What to put, in order.
template <image_sink To>
std::vector<descriptor> contents_for(To& to, image_graph const& graph) {
    if constexpr (arranging_sink<To>) {
        return to.arrange(graph);
    } else {
        std::vector<descriptor> all;
        all.reserve(graph.contents.size());
        for (auto const& node : graph.contents) all.push_back(node.what);
        return all;
    }
}

template <class From, image_sink To>
bool is_store_of(From const& from, To& to) {
    if constexpr (storing_sink<To>) {
        if constexpr (std::same_as<From, std::remove_const_t<store_of<To>>>)
            return std::addressof(from) == std::addressof(to.store());
    }
    return false;
}

/// Names the image `root`, all of which the sink has, and makes it visible.
template <image_sink To>
void publish(descriptor const& root, std::span<image_name const> names, To& to, progress_ref progress) {
    progress.about_to_publish(root.digest.text());
    if (names.empty()) to.tag(root, image_name{});
    for (auto const& name : names) to.tag(root, name);
    to.commit();
}

/// copy(), of which some contents may be under way.
template <blob_reader_source From, remote_sink To>
void finish_copy(descriptor const& root, std::span<image_name const> names, From const& from, To& to,
                 progress_ref progress, background_copy<From, To>& under_way) {
    auto const contents = contents_for(to, read_graph(root, from));
    auto& course = under_way.course();
    std::uint64_t bytes = 0;
    for (auto const& what : contents) bytes += what.size;
    course.whole.expect(root, bytes);
    for (auto const& what : contents)
        if (!is_document(what)) under_way.add(what);
    under_way.wait();
    for (auto const& what : contents)
        if (is_document(what)) copy_document(what, from, to, progress, course);
    course.whole.finish();
    publish(root, names, to, progress);
}

} // namespace detail

/// Delivers the image `root` with everything that belongs to it, under `names`; without any, the sink keeps
/// it by its digest. `env.progress` hears of every content: activity "copy", the digest as subject, bytes
/// moved; none are moved of what exists. On the way to a remote_sink also of the whole: activity "deliver".
/// When it throws, nothing has become visible in the sink.
template <blob_reader_source From, image_sink To, class Env>
void copy(descriptor const& root, std::span<image_name const> names, From const& from, To& to, Env& env) {
    progress_ref const progress{env.progress};
    if constexpr (remote_sink<To>) {
        to.connect(); // here, not on several threads
        detail::background_copy under_way{from, to, progress};
        detail::finish_copy(root, names, from, to, progress, under_way);
    } else {
        auto const graph = read_graph(root, from);
        if (!detail::is_store_of(from, to))
            for (auto const& what : detail::contents_for(to, graph))
                detail::copy_content(what, from, to, progress);
        detail::publish(root, names, to, progress);
    }
}

} // namespace shiplap

// === shiplap/store/overlay.hpp ===

// overlay_store: what a store has and, beyond that, blobs that lie elsewhere. Each of those is opened when
// somebody reads it, and not before: what the destination of a copy has already is never read.
//
//     overlay_store all{scratch};
//     all.add(facts.blob.digest, [layer] { return layer.unverified_reader(); });
//     copy(root, names, all, sink, env);

namespace shiplap {

/// A blob_reader_source on top of `S`, which must outlive it.
template <blob_reader_source S>
class overlay_store {
  public:
    explicit overlay_store(S const& store) : store_{store} {}

    /// `open` gives a new reader of the blob at each call; for `copy` it may be called on several threads.
    void add(digest const& which, std::function<any_replayable_source()> open) {
        elsewhere_.insert_or_assign(which, std::move(open));
    }

    [[nodiscard]] bool contains(digest const& which) const {
        return elsewhere_.contains(which) || store_.contains(which);
    }

    [[nodiscard]] bool owns(content_facts const& what) const { return is_owned(store_, what); }

    /// What the store has is read from there.
    [[nodiscard]] any_replayable_source reader(digest const& which) const {
        auto const found = elsewhere_.find(which);
        if (found == elsewhere_.end() || store_.contains(which)) return store_.reader(which);
        return found->second();
    }

  private:
    S const& store_;
    std::map<digest, std::function<any_replayable_source()>> elsewhere_;
};

} // namespace shiplap

// === shiplap/store/scratch.hpp ===

// scratch_store: blobs on disk without a name. Where packed layers wait until a sink that is no store itself,
// an archive or a registry, has taken them.
//
// Every blob is a staged_file that stays open: nothing of it remains after its owner, not even when the
// process is killed (on file systems without O_TMPFILE a killed process leaves hidden files). One open file
// per blob counts against the process's limit (ulimit -n).

namespace shiplap {

class scratch_store {
    struct state {
        std::mutex mutex;
        std::map<digest, staged_file> blobs;
    };

  public:
    class writer {
      public:
        writer(state& store, std::string const& folder, staging purpose)
            : store_{&store}, file_{folder, purpose} {}
        void write(bytes_view in) { file_.write(in); }
        void commit(content_facts const& facts) {
            std::lock_guard const lock{store_->mutex};
            store_->blobs.insert_or_assign(facts.digest, std::move(file_));
        }

      private:
        state* store_;
        staged_file file_;
    };

    /// Blobs lie on the file system of `folder`, which must exist by the time of open().
    explicit scratch_store(std::string folder) : folder_{std::move(folder)} {}

    [[nodiscard]] writer open() { return {*state_, folder_, staging::scratch}; }
    /// A blob on the file system of another folder, where it will be published.
    [[nodiscard]] writer open(std::string const& folder) { return {*state_, folder, staging::publication}; }

    [[nodiscard]] bool contains(digest const& which) const {
        std::lock_guard const lock{state_->mutex};
        return state_->blobs.contains(which);
    }

    /// Such a blob is here. Its bytes were hashed on their way in, and nobody else has a name for them.
    [[nodiscard]] bool owns(content_facts const& what) const {
        std::lock_guard const lock{state_->mutex};
        auto const found = state_->blobs.find(what.digest);
        return found != state_->blobs.end() && found->second.size() == what.size;
    }

    /// Reads independently of all other readers, and even after the store is gone.
    [[nodiscard]] file_reader reader(digest const& which) const {
        if (auto found = find(which)) return std::move(*found);
        throw error{error_code::not_found, "read blob", which.text(), "not among the staged blobs"};
    }

    /// As reader(), but nothing if there is no such blob.
    [[nodiscard]] std::optional<file_reader> find(digest const& which) const {
        std::lock_guard const lock{state_->mutex};
        auto const found = state_->blobs.find(which);
        if (found == state_->blobs.end()) return {};
        return found->second.reader();
    }

    /// Takes all blobs out of the store: for who publishes them.
    [[nodiscard]] std::map<digest, staged_file> take() {
        std::lock_guard const lock{state_->mutex};
        return std::exchange(state_->blobs, {});
    }

  private:
    std::string folder_;
    std::unique_ptr<state> state_ = std::make_unique<state>(); // stays where it is when the store is moved
};

} // namespace shiplap

// === shiplap/export/exporter.hpp ===

// exporter: the thin shell that owns the policies and calls the three verbs in order.
//
//     exporter out{gzip{.level = 9}, oci_media_types{}, sha256{}, layout_sink{"app-layout"}};
//     auto image = out(build_result{.layers = {directory_layer{"app"}}}, {.names = {"example.com/app:1.0"}});
//
// pack writes each layer into a store (the sink itself where it is one), assemble makes config and manifest
// of them, copy delivers the whole and names it. When anything throws, the sink is as it was. Layers that are
// packed already, those of a base image among them, stay where they are until a sink asks for them.

namespace shiplap {

namespace detail {

template <blob_store S>
void put_text(std::string const& text, descriptor const& what, S& store) {
    auto blob = store.open();
    blob.write(as_bytes(text));
    blob.commit({what.digest, text.size()});
}

inline std::vector<reference> parse_names(export_options const& options) {
    std::vector<reference> parsed;
    for (auto const& text : options.names) {
        auto name = reference::parse(text);
        parsed.push_back(options.by_digest ? name : name.with_default_tag());
    }
    return parsed;
}

/// What the image is called once its digest is known.
struct given_names {
    std::vector<image_name> known_as{}; ///< for sinks
    std::vector<std::string> told{};    ///< for the user
};

inline given_names names_for(std::vector<reference> const& names, digest const& root,
                             export_options const& options) {
    given_names out;
    auto const with_digest = [&](std::string const& name) {
        return name_of(reference::parse(name + "@" + root.text()));
    };
    for (auto const& name : names) {
        if (name.digest() && *name.digest() != root)
            throw option_error{"name", name.text(),
                               "the image is " + root.text() + ", not what the digest in its name says"};
        out.told.push_back(name.text());
        if (!options.by_digest) out.known_as.push_back(name_of(name));
        if (!name.digest() && (options.by_digest || options.canonical_names))
            out.known_as.push_back(with_digest(name.text()));
    }
    if (!options.dangling_prefix.empty()) {
        out.known_as.push_back(with_digest(options.dangling_prefix));
        out.told.push_back(out.known_as.back().full);
    }
    if (out.known_as.empty() && !options.unnamed_as.empty()) out.known_as.push_back({{}, options.unnamed_as});
    return out;
}

/// Whole seconds: the epoch, else the time of the newest entry of all layers; none for an image without
/// entries.
inline std::optional<timestamp> creation_time(std::vector<exported_platform> const& platforms,
                                              export_options const& options) {
    if (options.epoch) return timestamp{*options.epoch, 0};
    std::optional<timestamp> newest;
    for (auto const& platform : platforms)
        for (auto const& layer : platform.layers)
            if (layer.created && (!newest || *layer.created > *newest)) newest = layer.created;
    if (newest) newest->nanoseconds = 0;
    return newest;
}

/// Folder for what must lie somewhere between packing and delivery.
template <image_sink S>
std::string staging_folder(S& sink) {
    if constexpr (requires { sink.staging_folder(); })
        return sink.staging_folder();
    else
        return std::filesystem::temp_directory_path().string();
}

/// Delivery that begins while layers are still packed: a remote_sink gets each that is ready, a storing_sink what it does
/// not hold yet, others wait.
template <blob_reader_source From, image_sink To>
struct early_delivery {
    From const& from;
    To& to;
    progress_ref progress;
    void add(descriptor const& what, bool stored) {
        if constexpr (storing_sink<To>)
            if (!stored) copy_content(what, from, to, progress);
    }
    template <class Env>
    void finish(descriptor const& root, std::span<image_name const> names, Env& env) {
        if constexpr (storing_sink<To>)
            publish(root, names, to, progress); // all of it is there, just made and hashed
        else
            copy(root, names, from, to, env);
    }
};
template <blob_reader_source From, remote_sink To>
struct early_delivery<From, To> {
    From const& from;
    To& to;
    progress_ref progress;
    background_copy<From, To> under_way{from, to, progress};
    void add(descriptor const& what, bool) {
        if (what.urls.empty()) under_way.add(what, from.reader(what.digest));
    }
    template <class Env>
    void finish(descriptor const& root, std::span<image_name const> names, Env&) {
        finish_copy(root, names, from, to, progress, under_way);
    }
};

/// Nobody else wants to hear of layers.
inline constexpr auto no_follower = [](descriptor const&) {};

/// Puts what is said about the image `root` into the store; returns the descriptor of the manifest that holds it.
template <digest_algorithm D, blob_store Store>
descriptor put_attestations(build_result const& result, descriptor const& root,
                            std::vector<reference> const& names, attestation_form form, Store& store) {
    auto const made = assemble_attestations<D>(result.attestations, root, names, form);
    for (std::size_t i = 0; i < made.statements.size(); ++i)
        put_text(made.statements[i], made.layers[i], store);
    put_text(made.config, made.config_descriptor, store);
    put_text(made.manifest, made.root, store);
    return made.root;
}

/// The root of an image, of which all else is in the store: the only manifest, or an index, which is put there.
template <digest_algorithm D, blob_store Store>
descriptor put_root(std::vector<exported_platform> const& platforms, bool as_index,
                    export_options const& options, media_type_table const& types, Store& store) {
    if (!as_index) return platforms.front().manifest;
    std::vector<descriptor> entries;
    entries.reserve(2 * platforms.size());
    for (auto const& platform : platforms) entries.push_back(platform.manifest);
    for (auto const& platform : platforms)
        if (platform.attestations) entries.push_back(*platform.attestations);
    auto index =
        assemble_index<D>(entries, options.index_annotations, options.index_descriptor_annotations, types);
    put_text(index.index, index.root, store);
    return std::move(index.root);
}

/// The three verbs, for any sink; `pack_layers(result, store, shared, take)` is the first. `follow` is called with each
/// layer that is there, in `store` or, if the sink is a store, in that.
template <digest_algorithm D, image_sink Sink, blob_store Store, class PackLayers, class Follow, class Env>
exported_image export_through(Store& store, Sink& sink, PackLayers pack_layers, Follow follow,
                              export_input const& input, export_options const& options,
                              media_type_table const& types, Env& env) {
    auto const names = parse_names(options); // before anything is read
    auto plan = plan_export(input, options, types);
    if constexpr (remote_sink<Sink>) sink.connect();
    auto& warnings = plan.warnings;
    std::vector<layer_blob> layers;
    overlay_store all{store};
    early_delivery<overlay_store<Store>, Sink> early{all, sink, progress_ref{env.progress}};
    auto take = [&](ready_layer ready) {
        choose_distribution(ready.facts, options, types, warnings);
        auto const& blob = ready.facts.blob;
        if (ready.elsewhere && !ready.facts.only_named)
            all.add(blob.digest, [from = *ready.elsewhere] { return from.unverified_reader(); });
        if (!ready.facts.only_named) {
            descriptor const what{.media_type = layer_type(ready.facts, types),
                                  .digest = blob.digest,
                                  .size = blob.size,
                                  .urls = ready.facts.urls};
            early.add(what, !ready.elsewhere);
            follow(what);
        }
        layers.push_back(std::move(ready.facts));
    };

    std::vector<exported_platform> platforms;
    shared_layers shared;
    auto const make = [&](build_result const& result, image_options const& how) {
        layers.clear();
        pack_layers(result, store, shared, take);
        auto image = assemble<D>(layers, how, types);
        put_text(image.config, image.config_descriptor, store);
        put_text(image.manifest, image.root, store);
        std::optional<descriptor> attestations;
        if (plan.as_index && !result.attestations.empty())
            attestations = put_attestations<D>(result, image.root, names, options.attestations_as, store);
        warnings.insert(warnings.end(), image.warnings.begin(), image.warnings.end());
        platforms.push_back({std::move(image.root), std::move(image.config_descriptor), std::move(layers),
                             std::move(attestations)});
    };
    for (std::size_t i = 0; i < input.results.size(); ++i) {
        try {
            make(input.results[i], plan.images[i]);
        } catch (error& failure) {
            if (input.results.size() > 1)
                failure.within("platform " + format(planned_platform(plan.images[i])));
            throw;
        }
    }
    auto root = put_root<D>(platforms, plan.as_index, options, types, store);
    if (auto const made = creation_time(platforms, options); options.annotate_created && made)
        root.annotations.try_emplace("org.opencontainers.image.created", format_rfc3339(*made));

    auto called = names_for(names, root.digest, options);
    early.finish(root, called.known_as, env);
    auto const& first = platforms.front();
    return {std::move(root),        first.config,        first.layers,
            std::move(called.told), std::move(warnings), std::move(platforms)};
}

template <digest_algorithm D, image_sink Sink, class PackLayers, class Follow, class Env>
exported_image export_into(Sink& sink, PackLayers pack_layers, Follow follow, export_input const& input,
                           export_options const& options, media_type_table const& types, Env& env) {
    if constexpr (storing_sink<Sink>) {
        return export_through<D>(sink.store(), sink, pack_layers, follow, input, options, types, env);
    } else {
        scratch_store store{staging_folder(sink)};
        return export_through<D>(store, sink, pack_layers, follow, input, options, types, env);
    }
}

} // namespace detail

/// An image exporter of these policies. A call exports once; whether the sink can take another image is the
/// sink's.
template <codec Codec, media_types MediaTypes, digest_algorithm Digest, image_sink Sink,
          export_env Env = default_env>
class exporter {
    static_assert(
        !std::string_view{MediaTypes::layer(Codec::encoding)}.empty(),
        "this media-type table has no name for layers of this codec: inherit the table and override layer()");

  public:
    exporter(Codec codec, MediaTypes, Digest, Sink sink, Env env = Env{})
        : codec_{std::move(codec)}, sink_{std::move(sink)}, env_{std::move(env)} {}

    /// Exports `result`. Throws a shiplap::error, and then nothing has become visible in the sink.
    exported_image operator()(build_result const& result, export_options const& options = {}) {
        return export_all(result, options);
    }
    /// The same for several platforms, under an index.
    exported_image operator()(export_input const& platforms, export_options const& options = {}) {
        return export_all(platforms, options);
    }

    [[nodiscard]] Sink& sink() noexcept { return sink_; }
    [[nodiscard]] Env& env() noexcept { return env_; }

  private:
    exported_image export_all(export_input const& input, export_options const& options) {
        auto const pack_layers = [&](build_result const& result, auto& store, auto& shared, auto& take) {
            detail::pack_all<Digest>(result, codec_, store, options.force_compression, env_, shared, take);
        };
        return detail::export_into<Digest>(sink_, pack_layers, detail::no_follower, input, options,
                                           table_of<MediaTypes>, env_);
    }

    Codec codec_;
    Sink sink_;
    Env env_;
};

} // namespace shiplap

// === shiplap/export/option_values.hpp ===

// The values of options as text: booleans, integers, annotation keys; and how far two words are apart, to suggest the
// one that was meant.

namespace shiplap::detail {

/// Edits (insert, delete, replace one character) that turn `a` into `b`.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        auto diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            auto const replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row.back();
}

enum class empty_bool { means_true, is_error };

inline bool parse_bool(std::string_view key, std::string_view value, empty_bool empty) {
    constexpr std::array<std::string_view, 6> yes{"1", "t", "T", "TRUE", "true", "True"};
    constexpr std::array<std::string_view, 6> no{"0", "f", "F", "FALSE", "false", "False"};
    if (value.empty() && empty == empty_bool::means_true) return true;
    if (std::find(yes.begin(), yes.end(), value) != yes.end()) return true;
    if (std::find(no.begin(), no.end(), value) != no.end()) return false;
    throw option_error{std::string{key}, "non-bool value specified for " + std::string{key} + ": '" +
                                             printable(value) + "'; use true or false"};
}

inline std::optional<std::int64_t> parse_integer(std::string_view value) {
    if (value.starts_with('+')) value.remove_prefix(1);
    std::int64_t number = 0;
    auto const [end, problem] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (problem != std::errc{} || end != value.data() + value.size()) return std::nullopt;
    return number;
}

/// annotation[-<type>][[<platform>]].<key>
struct annotation_key {
    std::string type, platform, key;
};

inline std::optional<annotation_key> parse_annotation_key(std::string_view text) {
    constexpr std::string_view prefix = "annotation";
    if (!text.starts_with(prefix)) return std::nullopt;
    auto const dot = text.find('.');
    if (dot == std::string_view::npos) return std::nullopt;
    annotation_key parsed{"manifest", {}, std::string{text.substr(dot + 1)}};
    auto head = text.substr(prefix.size(), dot - prefix.size());
    if (auto const open = head.find('['); open != std::string_view::npos) {
        if (!head.ends_with(']')) return std::nullopt;
        parsed.platform = head.substr(open + 1, head.size() - open - 2);
        constexpr auto allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/-";
        if (parsed.platform.empty() || parsed.platform.find_first_not_of(allowed) != std::string::npos)
            return std::nullopt;
        head = head.substr(0, open);
    }
    if (head.starts_with('-'))
        parsed.type = head.substr(1);
    else if (!head.empty())
        return std::nullopt;
    constexpr auto letters = "abcdefghijklmnopqrstuvwxyz-";
    if (parsed.type.empty() || parsed.type.find_first_not_of(letters) != std::string::npos)
        return std::nullopt;
    if (parsed.key.empty() || parsed.key.find_first_of(" \t\n\v\f\r") != std::string::npos)
        return std::nullopt;
    return parsed;
}

} // namespace shiplap::detail

// === shiplap/export/policies.hpp ===

// policies: the type lists from which names at run time become types. Each list is the only registry of its
// axis: a new codec is one header and one word here.
//
//     std::optional<builtin_codecs::variant> found = builtin_codecs::named("zstd");
//     std::visit([](auto const& codec) { ... }, *found);

namespace shiplap {

/// Policies that are told apart by their static member `name`.
template <class... Policies>
struct policy_list {
    using variant = std::variant<Policies...>;

    /// A default-constructed policy of that name.
    static std::optional<variant> named(std::string_view name) {
        std::optional<variant> found;
        ((Policies::name == name ? void(found.emplace(Policies{})) : void()), ...);
        return found;
    }

    /// All names, for messages: "uncompressed, gzip".
    static std::string names() {
        std::string text;
        ((text += (text.empty() ? "" : ", ") + std::string{Policies::name}), ...);
        return text;
    }
};

/// With a backend that is chosen at run time.
using any_gzip = basic_gzip<any_backend>;
using any_estargz = basic_estargz<any_backend>;

using builtin_codecs = policy_list<uncompressed, any_gzip, any_estargz, zstd>;
using builtin_digests = policy_list<sha256, sha512>;

} // namespace shiplap

// === shiplap/export/spec.hpp ===

// spec: what one --output asks for, as a plain struct with every default applied and every conflict found,
// before anything is read or written. Option by option it follows the image exporter of BuildKit; where it
// differs the README says so under "Deviations".

namespace shiplap {

enum class output_type {
    image = 1,  ///< the local image store, and with push=true registries
    oci = 2,    ///< an OCI archive, or with tar=false an OCI layout
    docker = 4, ///< an archive for `docker load`, or with tar=false an OCI layout with Docker's media types
    local = 8,  ///< the image's files in a directory
    tar = 16,   ///< the image's files in one tar
};

struct export_spec {
    output_type type = output_type::image;
    std::string destination;      ///< a path; "-" is standard output; empty for type=image
    bool tar = true;              ///< false: a layout directory
    std::vector<reference> names; ///< with the tag "latest" where they have none, unless pushed by digest
    bool names_of_build = false;  ///< name=*: what is exported says how it is called
    bool push = false;            ///< to the registries of all names
    bool push_by_digest = false;  ///< without setting tags
    bool insecure = false;        ///< registries may speak plain HTTP or show any certificate
    std::optional<bool> keep;     ///< in the local image store; none: if that needs no download
    bool unpack = false;          ///< below the local image store, for this machine's platform
    std::string dangling_prefix;  ///< adds the name <prefix>@<digest>; empty: none
    bool dangling_only_unnamed = false; ///< only if there is no other name
    bool canonical_names = false;       ///< the store also knows it as <name>@<digest>
    builtin_codecs::variant codec = any_gzip{};
    bool compression_asked = false;       ///< `codec` is not the default
    bool force_compression = false;       ///< also repack layers that come as blobs
    bool prefer_nondistributable = false; ///< keep layers that name URLs out of registries
    bool oci_types = false;               ///< OCI media types, else Docker's
    bool docker_types_asked = false;      ///< Docker's were asked for; otherwise attestations take OCI's
    annotation_map annotations;           ///< of every manifest
    annotation_map descriptor_annotations;
    std::vector<platform_annotations>
        for_platforms; ///< of the manifest of one platform, and of its descriptor
    annotation_map index_annotations, index_descriptor_annotations;
    attestation_form attestations_as = attestation_form::image;
    bool attestations_inline = false;  ///< attestations that are inline_only count, too
    std::optional<std::int64_t> epoch; ///< seconds since 1970: latest time in config and history
    bool rewrite_timestamps = false;   ///< clamp times inside the layers to `epoch` as well
    std::optional<std::string> config; ///< JSON of the image configuration to start from
    builtin_digests::variant digest = sha256{};
    std::string store; ///< folder of the local image store, for type=image; empty: default_store()
    std::vector<std::string> warnings; ///< accepted, but the user should know

    /// Checks and completes parsed attributes. `backends` are those that compression-variant can choose, at
    /// least one; the first is the default of gzip and estargz. Throws option_error; the message names the option.
    static export_spec from(attributes const& given,
                            std::vector<any_backend> const& backends = {zlib_backend{}});

    /// With the names that `what` brings in the place of `*`, if that was asked for. Throws option_error if it
    /// brings none.
    [[nodiscard]] export_spec named_after(export_input const& what) const;
};

namespace detail {

/// Completes names and checks that they fit the other options.
inline void complete_names(export_spec& spec) {
    for (auto& name : spec.names) {
        if (spec.push_by_digest && (!name.tag().empty() || name.digest()))
            throw option_error{"push-by-digest",
                               "can't push tagged ref " + name.text() + " by digest; leave the tag out"};
        if (!spec.push_by_digest) name = name.with_default_tag();
    }
}

/// Collects the attributes of one output; finish() draws the conclusions that need all of them.
class spec_builder {
  public:
    spec_builder(output_type type, std::vector<any_backend> const& backends) : backends_{backends} {
        spec_.type = type;
    }

    void apply(attribute const& given) {
        if (given.key == "type") return;
        if (auto const annotation = parse_annotation_key(given.key)) {
            if (!is_image()) refuse_for_type(given, images);
            annotate(*annotation, given.value);
            return;
        }
        auto const rule = ranges::find(rules, given.key, &option_rule::name);
        if (rule == rules.end() && given.key.substr(0, given.key.find_first_of(".[-")) == "annotation")
            throw option_error{given.key,
                               "at position " + std::to_string(given.position) +
                                   " is no annotation: expected annotation[-TYPE][[PLATFORM]].KEY, "
                                   "with a KEY that has no spaces"};
        if (rule == rules.end())
            throw option_error{given.key, "unknown option at position " + std::to_string(given.position) +
                                              "; the nearest known one is '" + nearest(given.key) + "'"};
        if ((rule->types & static_cast<unsigned>(spec_.type)) == 0) refuse_for_type(given, rule->types);
        (this->*rule->apply)(given.key, given.value);
    }

    export_spec finish() {
        choose_codec();
        choose_media_types();
        choose_names();
        choose_unpacking();
        if (spec_.keep == false && !spec_.push)
            spec_.warnings.emplace_back("store=false without push=true: the image is made and goes nowhere");
        if (spec_.type == output_type::oci && oci_types_ == false)
            spec_.warnings.emplace_back(
                "oci-mediatypes=false has no effect: type=oci has OCI's, type=docker Docker's");
        if (spec_.type == output_type::local && (spec_.destination.empty() || spec_.destination == "-"))
            throw option_error{"dest", "type=local needs dest=<directory>"};
        if (spec_.destination.empty() && spec_.type != output_type::image) {
            if (!spec_.tar) throw option_error{"dest", "tar=false needs dest=<directory>"};
            spec_.destination = "-";
        }
        if (!spec_.tar && spec_.destination == "-")
            throw option_error{"dest", "a layout directory (tar=false) cannot go to standard output"};
        if (spec_.rewrite_timestamps && !spec_.epoch)
            throw option_error{"rewrite-timestamp",
                               "needs an epoch: give source-date-epoch=<seconds> or set SOURCE_DATE_EPOCH"};
        return std::move(spec_);
    }

  private:
    using handler = void (spec_builder::*)(std::string const& key, std::string const& value);
    struct option_rule {
        std::string_view name;
        unsigned types; // a set of output_type
        handler apply;
    };
    static constexpr unsigned image = 1, archives = 2 | 4, images = image | archives, files = 8 | 16,
                              all = images | files;
    static std::array<option_rule, 25> const rules;

    [[nodiscard]] bool is_image() const { return (static_cast<unsigned>(spec_.type) & images) != 0; }

    /// A boolean of the spec, and one that finish() draws conclusions from; an empty value means true, or is an error.
    template <auto Member>
    void set(std::string const& key, std::string const& value) {
        spec_.*Member = parse_bool(key, value, empty_bool::means_true);
    }
    template <auto Member>
    void set_strictly(std::string const& key, std::string const& value) {
        auto const given = parse_bool(key, value, empty_bool::is_error);
        if constexpr (requires { spec_.*Member = given; })
            spec_.*Member = given;
        else
            this->*Member = given;
    }

    void set_destination(std::string const& key, std::string const& value) {
        if (value.empty()) throw option_error{key, "is empty; give a path, or '-' for standard output"};
        spec_.destination = value;
    }
    static reference parse_name(std::string const& key, std::string const& name) {
        try {
            return reference::parse(name);
        } catch (error const& failure) {
            throw option_error{key, "failed to parse " + printable(name) + ": " + failure.reason()};
        }
    }
    void set_names(std::string const& key, std::string const& value) {
        spec_.names.clear();
        spec_.names_of_build = value == "*";
        if (value.empty() || spec_.names_of_build) return;
        for (std::size_t start = 0; start <= value.size();) {
            auto const end = std::min(value.find(',', start), value.size());
            spec_.names.push_back(parse_name(key, value.substr(start, end - start)));
            start = end + 1;
        }
    }
    void set_dangling(std::string const& key, std::string const& value) {
        if (!value.empty())
            if (auto const prefix = reference::parse(value); !prefix.tag().empty() || prefix.digest())
                throw option_error{key,
                                   "'" + printable(value) +
                                       "' must be a name without tag and digest: @<digest> is put behind it"};
        spec_.dangling_prefix = value;
    }
    void set_compression(std::string const& key, std::string const& value) {
        auto const found = builtin_codecs::named(value);
        if (!found)
            throw option_error{key, "unsupported compression type " + printable(value) + "; known are " +
                                        builtin_codecs::names()};
        spec_.codec = *found;
        spec_.compression_asked = true;
    }
    void set_variant(std::string const& key, std::string const& value) {
        std::string known;
        for (auto const& one : backends_) {
            if (one.name == value) variant_ = one;
            known += (known.empty() ? "" : ", ") + std::string{one.name};
        }
        if (!variant_ || variant_->name != value)
            throw option_error{key, "unsupported compression variant " + printable(value) + "; known are " +
                                        known};
    }
    void set_level(std::string const& key, std::string const& value) {
        level_ = parse_integer(value);
        if (!level_)
            throw option_error{key, "non-integer value " + printable(value) +
                                        " specified for compression-level; give a whole number"};
    }
    void set_force(std::string const& key, std::string const& value) {
        try {
            spec_.force_compression = parse_bool(key, value, empty_bool::means_true);
        } catch (option_error const&) {
            throw option_error{key, "non-bool value " + printable(value) +
                                        " specified for force-compression; use true or false"};
        }
    }
    void set_compatibility(std::string const& key, std::string const& value) {
        auto const number = parse_integer(value);
        if (!number || (*number != 10 && *number != 20 && *number != 30))
            throw option_error{key, "unsupported compatibility-version " + printable(value) +
                                        "; known are 10, 20, 30"};
        compatibility_ = static_cast<int>(*number);
    }
    void set_epoch(std::string const& key, std::string const& value) {
        spec_.epoch.reset(); // an empty value says: no epoch, whatever the environment says
        if (value.empty()) return;
        spec_.epoch = parse_integer(value);
        if (!spec_.epoch)
            throw option_error{key, "invalid source-date-epoch " + printable(value) +
                                        "; give whole seconds since 1970-01-01T00:00:00Z"};
    }
    void set_config(std::string const& key, std::string const& value) {
        try {
            static_cast<void>(platform_of_config(value, "value"));
        } catch (error const& failure) {
            throw option_error{key, failure.what()};
        }
        spec_.config = value;
    }

    void annotate(annotation_key const& to, std::string const& value) {
        if (to.type != "manifest" && to.type != "manifest-descriptor" && to.type != "index" &&
            to.type != "index-descriptor")
            throw option_error{"annotation",
                               "unrecognized annotation type " + printable(to.type) +
                                   "; known are manifest, manifest-descriptor, index, index-descriptor"};
        annotated_ = true;
        if (to.type != "manifest") needs_oci_annotations_ = true;
        if (to.type == "index") {
            spec_.index_annotations[to.key] = value; // of which there is one: a platform selects nothing
        } else if (to.type == "index-descriptor") {
            spec_.index_descriptor_annotations[to.key] = value;
        } else if (to.platform.empty()) {
            (to.type == "manifest" ? spec_.annotations : spec_.descriptor_annotations)[to.key] = value;
        } else {
            auto& one = annotations_for(parse_platform(to.platform));
            (to.type == "manifest" ? one.manifest : one.descriptor)[to.key] = value;
        }
    }

    platform_annotations& annotations_for(platform const& wanted) {
        for (auto& one : spec_.for_platforms)
            if (one.platform == wanted) return one;
        return spec_.for_platforms.emplace_back(platform_annotations{.platform = wanted});
    }

    void choose_codec() {
        // The files are what counts there: nothing is won by packing them on the way.
        if (!is_image()) spec_.codec = uncompressed{};
        std::visit(
            [this](auto& codec) {
                using chosen = std::remove_reference_t<decltype(codec)>;
                if constexpr (requires { codec.backend; })
                    codec.backend = variant_.value_or(backends_.front());
                else if (variant_)
                    spec_.warnings.emplace_back("compression-variant has no effect on compression=" +
                                                std::string{chosen::name});
                if (!level_) return;
                codec.level = static_cast<int>(std::clamp<std::int64_t>(*level_, -1'000'000, 1'000'000));
                check_level(codec);
                if constexpr (std::same_as<chosen, uncompressed>)
                    spec_.warnings.emplace_back(
                        "compression-level has no effect on compression=uncompressed");
            },
            spec_.codec);
    }

    void choose_names() {
        complete_names(spec_);
        bool const is_named = !spec_.names.empty() || spec_.names_of_build;
        if (spec_.push && !is_named && spec_.dangling_prefix.empty())
            throw option_error{"push", "needs a name: give name=<registry>/<repository>:<tag>, or --tag"};
        if (is_named && spec_.dangling_only_unnamed) spec_.dangling_prefix.clear();
        if (!is_named) spec_.canonical_names = false;
    }

    void choose_unpacking() {
        if (!spec_.unpack) return;
        if (spec_.keep == false)
            throw option_error{"unpack",
                               "needs the image in the local image store; do not give store=false with it"};
        if (spec_.rewrite_timestamps &&
            !(spec_.names.empty() && !spec_.names_of_build && spec_.dangling_prefix.empty()))
            throw option_error{"unpack", "exporter option \"rewrite-timestamp\" conflicts with \"unpack\""};
        spec_.keep = true;
    }

    void choose_media_types() {
        bool const is_estargz = std::holds_alternative<any_estargz>(spec_.codec),
                   is_zstd = std::holds_alternative<zstd>(spec_.codec);
        if (compatibility_ == 10 && is_zstd)
            throw option_error{
                "compression",
                "unsupported feature with compatibility-version=10: image exporter compression=zstd"};
        if (spec_.type == output_type::oci) {
            spec_.oci_types = true;
        } else if (oci_types_) {
            spec_.oci_types = *oci_types_;
        } else {
            spec_.oci_types =
                compatibility_ == 30 || is_estargz || is_zstd || annotated_ || oci_artifact_ == true;
        }
        if (!spec_.oci_types) {
            if (is_estargz) conflict("compression=estargz");
            if (oci_artifact_ == true) conflict("oci-artifact=true");
            if (needs_oci_annotations_)
                throw option_error{"oci-mediatypes",
                                   "cannot export annotations with \"oci-mediatypes=false\""};
        }
        spec_.docker_types_asked = !spec_.oci_types && oci_types_;
        bool const as_artifact = oci_artifact_.value_or(compatibility_ == 30 && spec_.oci_types);
        spec_.attestations_as = as_artifact ? attestation_form::artifact : attestation_form::image;
        spec_.attestations_inline = attestations_inline_.value_or(spec_.type == output_type::image);
    }

    [[noreturn]] static void conflict(std::string const& option) {
        throw option_error{"oci-mediatypes",
                           "exporter option \"" + option + "\" conflicts with \"oci-mediatypes=false\""};
    }

    [[noreturn]] static void refuse_for_type(attribute const& given, unsigned types) {
        if (given.key == "dest")
            throw option_error{given.key, "output " + printable(given.value) +
                                              " is not supported by image exporter; a file is made by "
                                              "type=oci, docker or tar"};
        std::string meant;
        for (auto const& [type, name] : std::array<std::pair<unsigned, char const*>, 5>{
                 {{1, "image or registry"}, {2, "oci"}, {4, "docker"}, {8, "local"}, {16, "tar"}}})
            if ((types & type) != 0) meant += (meant.empty() ? "" : ", ") + std::string{name};
        throw option_error{given.key, "at position " + std::to_string(given.position) +
                                          " has no meaning for this type of output, only for type=" + meant};
    }

    [[nodiscard]] static std::string nearest(std::string_view key) {
        auto const best = ranges::min_element(
            rules, {}, [key](option_rule const& rule) { return edit_distance(key, rule.name); });
        if (auto const dot = key.find('.'); dot != std::string_view::npos) {
            constexpr std::string_view annotation = "annotation";
            if (edit_distance(key.substr(0, dot), annotation) < edit_distance(key, best->name))
                return std::string{annotation} + std::string{key.substr(dot)};
        }
        return std::string{best->name};
    }

    export_spec spec_;
    std::vector<any_backend> const& backends_;
    std::optional<any_backend> variant_;
    std::optional<std::int64_t> level_;
    std::optional<bool> oci_types_, oci_artifact_, attestations_inline_;
    std::optional<int> compatibility_;
    bool annotated_ = false, needs_oci_annotations_ = false;
};

inline constexpr std::array<spec_builder::option_rule, 25> spec_builder::rules{{
    {"type", all, nullptr},
    {"dest", archives | files, &spec_builder::set_destination},
    {"tar", archives, &spec_builder::set<&export_spec::tar>},
    {"name", images, &spec_builder::set_names},
    {"push", image, &spec_builder::set<&export_spec::push>},
    {"push-by-digest", image, &spec_builder::set<&export_spec::push_by_digest>},
    {"registry.insecure", image, &spec_builder::set<&export_spec::insecure>},
    {"store", image, &spec_builder::set<&export_spec::keep>},
    {"unpack", image, &spec_builder::set<&export_spec::unpack>},
    {"dangling-name-prefix", image, &spec_builder::set_dangling},
    {"dangling-name-empty-only", image, &spec_builder::set<&export_spec::dangling_only_unnamed>},
    {"danging-name-empty-only", image,
     &spec_builder::set<&export_spec::dangling_only_unnamed>}, // as it was once spelt
    {"name-canonical", image, &spec_builder::set<&export_spec::canonical_names>},
    {"compression", images, &spec_builder::set_compression},
    {"compression-level", images, &spec_builder::set_level},
    {"compression-variant", images, &spec_builder::set_variant},
    {"force-compression", images, &spec_builder::set_force},
    {"prefer-nondist-layers", images, &spec_builder::set_strictly<&export_spec::prefer_nondistributable>},
    {"oci-mediatypes", images, &spec_builder::set_strictly<&spec_builder::oci_types_>},
    {"oci-artifact", images, &spec_builder::set_strictly<&spec_builder::oci_artifact_>},
    {"attestation-inline", images, &spec_builder::set_strictly<&spec_builder::attestations_inline_>},
    {"compatibility-version", images, &spec_builder::set_compatibility},
    {"source-date-epoch", all, &spec_builder::set_epoch},
    {"rewrite-timestamp", all, &spec_builder::set_strictly<&export_spec::rewrite_timestamps>},
    {"containerimage.config", images, &spec_builder::set_config},
}};

/// The type that counts: the last one. Null if there is none.
inline attribute const* type_of(attributes const& given) {
    attribute const* last = nullptr;
    for (auto const& one : given)
        if (one.key == "type") last = &one;
    return last;
}

/// type=registry is type=image,push=true.
inline bool is_registry(attributes const& given) {
    auto const* const type = type_of(given);
    return type != nullptr && type->value == "registry";
}

inline output_type parse_output_type(attributes const& given) {
    auto const* const last = type_of(given);
    if (last == nullptr) {
        for (auto const& one : given)
            if (edit_distance(one.key, "type") <= 2)
                throw option_error{one.key,
                                   "unknown option at position " + std::to_string(one.position) +
                                       "; the nearest known one is 'type': --output requires type=<type>"};
        throw option_error{"type",
                           "--output requires type=<type>: image, registry, oci, docker, local or tar"};
    }
    if (last->value == "image" || last->value == "registry") return output_type::image;
    if (last->value == "oci") return output_type::oci;
    if (last->value == "docker") return output_type::docker;
    if (last->value == "local") return output_type::local;
    if (last->value == "tar") return output_type::tar;
    throw option_error{"type",
                       "exporter \"" + printable(last->value) +
                           "\" could not be found; known are image, registry, oci, docker, local, tar"};
}

} // namespace detail

inline export_spec export_spec::from(attributes const& given, std::vector<any_backend> const& backends) {
    detail::spec_builder builder{detail::parse_output_type(given), backends};
    for (auto const& attribute : given) builder.apply(attribute);
    if (detail::is_registry(given)) builder.apply({"push", "true"});
    return builder.finish();
}

inline export_spec export_spec::named_after(export_input const& what) const {
    auto out = *this;
    if (!names_of_build) return out;
    for (auto const& result : what.results)
        for (auto const& text : result.names) {
            auto name = reference::parse(text);
            if (ranges::find(out.names, name.text(), &reference::text) == out.names.end())
                out.names.push_back(std::move(name));
        }
    if (out.names.empty())
        throw option_error{"name",
                           "* stands for the names that the build or image brings, and it brings none; "
                           "give name=<name>:<tag>, or for an export --tag"};
    out.names_of_build = false;
    detail::complete_names(out);
    return out;
}

} // namespace shiplap

// === shiplap/store/layout_index.hpp ===

// layout_index: the index.json of an OCI image layout as text. It says which images a layout or an archive
// holds, and what they are called (image-spec, image-layout.md, "index.json file"; annotations.md).
//
// An image has up to two names there, both annotations of its entry: org.opencontainers.image.ref.name, which
// most tools take for the tag, and io.containerd.image.name, the full reference, which containerd prefers.
// Together they are what identifies an entry.

namespace shiplap {

inline constexpr char ref_name_annotation[] = "org.opencontainers.image.ref.name";
inline constexpr char image_name_annotation[] = "io.containerd.image.name";

/// The content of every layout's file oci-layout (image-spec, image-layout.md, "oci-layout file").
inline constexpr std::string_view layout_header = R"({"imageLayoutVersion":"1.0.0"})";

/// Throws format_error unless `text` is the oci-layout file of a version that is understood.
inline void check_layout_header(std::string_view text, std::string_view subject) {
    auto const header = parse_json(text, subject);
    auto const written = json_node{header, subject}["imageLayoutVersion"];
    if (written.text() != "1.0.0") written.refuse("only layout version 1.0.0 is understood");
}

/// The entry that calls an image `name`, whatever it was called where it comes from.
inline descriptor named_entry(descriptor root, image_name const& name) {
    root.annotations.erase(ref_name_annotation);
    root.annotations.erase(image_name_annotation);
    if (!name.ref_name.empty()) root.annotations[ref_name_annotation] = name.ref_name;
    if (!name.full.empty()) root.annotations[image_name_annotation] = name.full;
    return root;
}

/// The names of an entry.
inline image_name name_of_entry(descriptor const& entry) {
    auto const annotation = [&](char const* key) {
        auto const found = entry.annotations.find(key);
        return found == entry.annotations.end() ? std::string{} : found->second;
    };
    return {annotation(image_name_annotation), annotation(ref_name_annotation)};
}

/// The entries of an index.json. `subject` names it in messages. Throws format_error.
inline std::vector<descriptor> parse_layout_index(std::string_view text, std::string_view subject) {
    return parse_index(text, subject, oci_media_types::index).manifests;
}

namespace detail {

inline std::string list_names(std::span<descriptor const> entries) {
    std::string out;
    for (auto const& entry : entries) {
        auto const name = name_of_entry(entry);
        out += out.empty() ? "" : ", ";
        out += !name.full.empty() ? name.full : !name.ref_name.empty() ? name.ref_name : entry.digest.text();
    }
    return printable(out);
}

/// The entry that fits; none if there is none; an error if several do and are different images.
template <class Fits>
descriptor const* the_one(std::span<descriptor const> entries, std::string_view name,
                          std::string_view subject, Fits fits) {
    descriptor const* found = nullptr;
    for (auto const& entry : entries) {
        if (!fits(entry)) continue;
        if (found && found->digest != entry.digest)
            throw error{error_code::not_found, "find image", std::string{subject},
                        (name.empty() ? std::string{"it holds several"}
                                      : "several are called '" + printable(name) + "'") +
                            "; choose one of these: " + list_names(entries)};
        if (!found) found = &entry;
    }
    return found;
}

} // namespace detail

/// The entry that `name` means: by its full name, else by its ref.name, else by its digest. An empty name
/// means the only image. `subject` is the path of the layout. Throws error{not_found} that lists the names.
inline descriptor find_entry(std::span<descriptor const> entries, std::string_view name,
                             std::string_view subject) {
    using detail::the_one;
    auto const* found = the_one(entries, name, subject, [&](descriptor const& entry) {
        return name.empty() || name_of_entry(entry).full == name;
    });
    if (!found)
        found = the_one(entries, name, subject,
                        [&](descriptor const& entry) { return name_of_entry(entry).ref_name == name; });
    if (!found)
        found = the_one(entries, name, subject,
                        [&](descriptor const& entry) { return entry.digest.text() == name; });
    if (found) return *found;
    throw error{error_code::not_found, "find image", std::string{subject},
                entries.empty() ? "it holds no image"
                                : "none is called '" + printable(name) +
                                      "'; choose one of these: " + detail::list_names(entries)};
}

/// As find_entry(), for a name as people write it: "app:1" also means docker.io/library/app:1.
inline descriptor find_reference(std::span<descriptor const> entries, std::string_view name,
                                 std::string_view subject) {
    std::string full;
    try {
        full = reference::parse(name).with_default_tag().text();
    } catch (option_error const&) { // no reference, but it may be a digest or a ref.name
        return find_entry(entries, name, subject);
    }
    bool const known = std::any_of(entries.begin(), entries.end(), [&](descriptor const& entry) {
        return name_of_entry(entry).full == full;
    });
    return find_entry(entries, known ? full : name, subject);
}

/// The text of an index.json with `entries` added to `existing`, if there is one.
///
/// An entry takes the place of the one with the same two names or, if it has none, of the nameless one with
/// the same digest. All others stay, in their order, with all their members, known or not. Throws
/// format_error if `existing` is broken.
inline std::string merge_layout_index(std::optional<std::string> const& existing,
                                      std::span<descriptor const> entries, std::string_view subject) {
    auto index = to_json(image_index{.media_type = std::string{oci_media_types::index}});
    std::vector<descriptor> known; // what `list` holds, element by element
    if (existing) {
        known = parse_layout_index(*existing, subject); // who cannot read it must not edit it
        index = parse_json(*existing, subject);
    }
    if (auto& type = detail::member(index, "mediaType"); type.is_null())
        type = detail::json_text(std::string{oci_media_types::index});
    auto& manifests = detail::member(index, "manifests");
    if (manifests.is_null()) manifests = detail::empty_array();

    auto& list = *manifests.get_ptr<json::array_t*>();
    for (auto const& entry : entries) {
        auto const name = name_of_entry(entry);
        auto const place = std::find_if(known.begin(), known.end(), [&](descriptor const& there) {
            return name_of_entry(there) == name && (name != image_name{} || there.digest == entry.digest);
        });
        if (place == known.end()) {
            known.push_back(entry);
            list.push_back(to_json(entry));
        } else {
            list[static_cast<std::size_t>(place - known.begin())] = to_json(entry);
            *place = entry;
        }
    }
    auto text = compact(index);
    if (text.size() > max_document_size)
        throw format_error{"write", std::string{subject},
                           "would have more than " + std::to_string(max_document_size) + " bytes"};
    return text;
}

/// The text of the index.json `existing` without the entries at these places, as parse_layout_index() counts them.
/// Members that shiplap does not know stay.
inline std::string drop_from_layout_index(std::string_view existing, std::set<std::size_t> const& places,
                                          std::string_view subject) {
    static_cast<void>(parse_layout_index(existing, subject)); // who cannot read it must not edit it
    auto index = parse_json(existing, subject);
    auto& manifests = detail::member(index, "manifests");
    auto kept = detail::empty_array();
    std::size_t place = 0;
    if (auto* const list = manifests.get_ptr<json::array_t*>())
        for (auto& entry : *list)
            if (!places.contains(place++)) detail::add_item(kept, std::move(entry));
    manifests = std::move(kept);
    return compact(index);
}

} // namespace shiplap

// === shiplap/sink/archive.hpp ===

// archive: what the OCI and the docker archive share: an image layout as one tar, written as a stream.
//
//     blobs/  blobs/sha256/  blobs/sha256/<hex> ...  index.json  [manifest.json]  oci-layout
//
// Members are sorted by name, owned by 0:0 and dated 1970, in plain ustar (sha512 blobs have names that need
// PAX): the bytes follow from the image and its names alone. So blobs arrive in the order that arrange()
// gives and go straight to their place; nothing is kept in memory but digests. (image-spec, image-layout.md;
// the member order is that of BuildKit's `oci` and `docker` exporters.)
//
// An archive_output is either a file, which appears whole at commit() and not before, or an open stream.

namespace shiplap {

/// Where an archive goes. A byte_sink.
class archive_output {
  public:
    /// A file that replaces `path` at commit(); "-" is standard output, and a device or pipe is written
    /// directly. Throws system_error at once if `path` is a directory or its folder is missing or not
    /// writable.
    explicit archive_output(std::string path) : path_{std::move(path)} {
        if (path_ == "-") {
            path_ = "standard output";
            stream_ = STDOUT_FILENO;
            return;
        }
        struct ::stat facts {};
        bool const found = ::stat(path_.c_str(), &facts) == 0;
        if (found && S_ISDIR(facts.st_mode)) throw system_error{"write", path_, EISDIR};
        if (found && !S_ISREG(facts.st_mode)) { // renaming a file onto /dev/null would remove the device
            owned_ = detail::open_file(path_, O_WRONLY);
            stream_ = owned_.get();
            return;
        }
        // Through a symbolic link to the file that it names, as `> path` would.
        if (found && std::filesystem::is_symlink(path_)) path_ = std::filesystem::canonical(path_).string();
        restart();
    }
    /// A stream that stays open, such as standard output; `name` is for messages.
    archive_output(int stream, std::string name) : path_{std::move(name)}, stream_{stream} {}

    void write(bytes_view in) {
        if (!staged_) return detail::write_fully(stream_, in, path_);
        try {
            staged_->write(in);
        } catch (system_error const& refused) { // it knows only its folder
            throw system_error{"write", path_, refused.number()};
        }
    }

    /// Drops what was written. A stream cannot: returns false.
    bool restart() {
        if (stream_ >= 0) return false;
        staged_.emplace(detail::parent_of(path_));
        return true;
    }

    /// Publishes the file.
    void commit() {
        if (!staged_) return;
        staged_->publish(path_, 0644);
        detail::sync_directory(detail::parent_of(path_));
    }

    [[nodiscard]] std::string const& path() const noexcept { return path_; }
    /// A folder for what has to lie somewhere until it is written here: on the same file system where it can
    /// be.
    [[nodiscard]] std::string staging_folder() const {
        return stream_ >= 0 ? std::filesystem::temp_directory_path().string() : detail::parent_of(path_);
    }

  private:
    std::string path_;
    unique_fd owned_;
    int stream_ = -1; // or none
    std::optional<staged_file> staged_;
};

/// The common part of both archive sinks: all of an arranging_sink but commit().
class layout_archive {
  public:
    /// See archive_output.
    explicit layout_archive(std::string path) : layout_archive{archive_output{std::move(path)}} {}
    explicit layout_archive(archive_output output)
        : output_{std::make_unique<archive_output>(std::move(output))} {}

    /// Starts an archive that holds this image: its contents in the order of their names in the archive, each
    /// once.
    [[nodiscard]] std::vector<descriptor> arrange(image_graph const& graph) {
        if (started_) restart();
        std::map<digest, descriptor> sorted;
        for (auto const& node : graph.contents) sorted.try_emplace(node.what.digest, node.what);
        std::vector<descriptor> order;
        order.reserve(sorted.size());
        for (auto& [name, what] : sorted) order.push_back(std::move(what));
        return order;
    }

    [[nodiscard]] bool exists(descriptor const& what) const { return written_.contains(what.digest); }

    /// Takes the next blob; one that is there already is not read again. Throws error{unsupported} if it is
    /// not in the order of arrange().
    void put(descriptor const& what, replayable_source_ref from) {
        if (exists(what)) return;
        require_whole();
        bool const first = written_.empty();
        if (!first && what.digest < *written_.rbegin())
            throw error{error_code::unsupported, "write archive", output_->path(),
                        "blobs must come sorted by digest, " + what.digest.text() + " comes too late"};
        broken_ = true;
        if (first) member("blobs/", 0, 0755);
        if (first || written_.rbegin()->algorithm() != what.digest.algorithm())
            member("blobs/" + std::string{what.digest.algorithm()} + "/", 0, 0755);
        member(blob_path(what.digest), what.size, 0444);
        transfer(from, tar_);
        broken_ = false;
        written_.insert(what.digest);
    }

    /// An entry of index.json, which has what the descriptor says beyond the names.
    void tag(descriptor const& root, image_name const& name) {
        if (!exists(root))
            throw error{error_code::not_found, "name image", root.digest.text(),
                        "it was not put into archive '" + printable(output_->path()) + "'"};
        auto entry = named_entry(root, name);
        if (std::find(entries_.begin(), entries_.end(), entry) == entries_.end())
            entries_.push_back(std::move(entry));
    }

    /// See archive_output.
    [[nodiscard]] std::string staging_folder() const { return output_->staging_folder(); }

  protected:
    static std::string blob_path(digest const& which) {
        return "blobs/" + std::string{which.algorithm()} + "/" + std::string{which.encoded()};
    }

    /// Writes what follows the blobs and publishes. The sink can then take a new image.
    void complete(std::optional<std::string> const& docker_manifest) {
        require_whole();
        if (entries_.empty())
            throw error{error_code::not_found, "write archive", output_->path(), "it holds no tagged image"};
        // An OCI index, whatever the family of the image.
        image_index const index{.media_type = std::string{oci_media_types::index}, .manifests = entries_};
        file("index.json", compact(to_json(index)), 0644);
        if (docker_manifest) file("manifest.json", *docker_manifest, 0644);
        file("oci-layout", layout_header, 0444);
        tar_.finish();
        output_->commit();
    }

  private:
    void require_whole() const {
        if (broken_)
            throw error{error_code::unsupported, "write archive", output_->path(),
                        "a blob before this failed halfway"};
    }

    void member(std::string name, std::uint64_t size, std::uint32_t mode) {
        tar_entry entry;
        entry.name = std::move(name);
        if (entry.name.back() == '/') entry.type = entry_type::directory;
        entry.size = size;
        entry.mode = mode;
        started_ = true;
        tar_.entry(entry);
    }

    void file(std::string name, std::string_view text, std::uint32_t mode) {
        member(std::move(name), text.size(), mode);
        tar_.write(as_bytes(text));
    }

    void restart() {
        if (!output_->restart())
            throw error{error_code::unsupported, "write", output_->path(), "holds an archive already"};
        tar_ = tar_writer{*output_};
        written_.clear();
        entries_.clear();
        started_ = broken_ = false;
    }

    std::unique_ptr<archive_output> output_; // tar_ refers to it
    tar_writer<archive_output> tar_{*output_};
    std::set<digest> written_;
    std::vector<descriptor> entries_; // of index.json
    bool started_ = false;            // something was written
    bool broken_ = false;             // the last blob failed on its way
};

} // namespace shiplap

// === shiplap/sink/docker_archive.hpp ===

// docker_archive_sink: an image that `docker load` reads, what `type=docker` writes.
//
// It is an OCI archive (see archive.hpp) with one more member, manifest.json, for readers that know no OCI
// layout:
//
//     [{"Config":"blobs/sha256/<hex>","RepoTags":["app:1"],"Layers":["blobs/sha256/<hex>",...]}]
//
// RepoTags are familiar names with a tag, or null; a name that has only a digest is found in index.json
// alone. Layers keep their compression: docker load and skopeo read plain and gzip ones, zstd ones need
// docker 25. An index with attestations has no manifest.json (as BuildKit has it), one with several images is
// refused.

namespace shiplap {

/// An arranging_sink.
class docker_archive_sink : public layout_archive {
  public:
    using layout_archive::layout_archive;

    /// As layout_archive::arrange(); throws error{unsupported} unless there is exactly one image, with all
    /// its layers.
    [[nodiscard]] std::vector<descriptor> arrange(image_graph const& graph) {
        auto const image = graph.manifests.find(graph.root.digest);
        manifest_.reset();
        repo_tags_.clear();
        if (image != graph.manifests.end())
            manifest_ = image->second;
        else if (!has_single_image(graph))
            throw error{error_code::unsupported, "archive", graph.root.digest.text(),
                        "docker exporter does not currently support exporting manifest lists"};
        auto order = layout_archive::arrange(graph);
        if (manifest_)
            for (auto const& layer : manifest_->layers) require_among(order, layer.digest);
        return order;
    }

    /// As layout_archive::tag(); throws option_error if the full name is not a reference.
    void tag(descriptor const& root, image_name const& name) {
        if (!name.full.empty()) {
            auto const what = reference::parse(name.full);
            auto familiar = what.familiar();
            familiar.resize(std::min(familiar.find('@'), familiar.size()));
            bool const known = std::find(repo_tags_.begin(), repo_tags_.end(), familiar) != repo_tags_.end();
            if (!what.tag().empty() && !known) repo_tags_.push_back(std::move(familiar));
        }
        layout_archive::tag(root, name);
    }

    /// Writes index.json and manifest.json and publishes the file.
    void commit() { complete(manifest_ ? std::optional{manifest_text()} : std::nullopt); }

  private:
    // One image and its attestations, which BuildKit marks with this annotation.
    static bool has_single_image(image_graph const& graph) {
        auto const index = graph.indexes.find(graph.root.digest);
        if (index == graph.indexes.end()) return false;
        auto const& entries = index->second.manifests;
        auto const attestations = std::count_if(entries.begin(), entries.end(), [](descriptor const& entry) {
            return entry.annotations.contains("vnd.docker.reference.type");
        });
        return attestations > 0 && std::ssize(entries) - attestations == 1;
    }

    // A graph may lack layers that can be fetched from elsewhere; `docker load` does not fetch.
    static void require_among(std::vector<descriptor> const& contents, digest const& layer) {
        if (!ranges::contains(contents, layer, &descriptor::digest))
            throw error{error_code::unsupported, "archive", layer.text(),
                        "the source does not have this layer, which a docker archive must hold"};
    }

    [[nodiscard]] std::string manifest_text() const {
        auto layers = detail::empty_array();
        for (auto const& layer : manifest_->layers)
            detail::add_item(layers, detail::json_text(blob_path(layer.digest)));
        auto image = detail::empty_object();
        detail::add_text(image, "Config", blob_path(manifest_->config.digest));
        detail::add_member(image, "RepoTags",
                           repo_tags_.empty() ? json(nullptr) : detail::json_texts(repo_tags_));
        detail::add_member(image, "Layers", std::move(layers));
        auto images = detail::empty_array();
        detail::add_item(images, std::move(image));
        return compact(images);
    }

    std::optional<image_manifest> manifest_; // of the root, unless that is an index
    std::vector<std::string> repo_tags_;
};

} // namespace shiplap

// === shiplap/sink/root_directory.hpp ===

// root_directory: a directory as a jail. Names that come from an archive are resolved inside it and nowhere
// else.
//
//     root_directory root{detail::open_file("rootfs", O_PATH | O_DIRECTORY)};
//     auto const where = entry_path::parse("lib/x86_64-linux-gnu/libc.so.6");  // throws error{unsafe_entry}
//     auto const parent = root.find_directory(where.parent());                 // follows /lib -> usr/lib, in
//     the root
//     ::openat(parent.get(), where.base(), O_NOFOLLOW | ...);                  // the last component: never
//     followed
//
// Symbolic links among the parents are legitimate in images. They are resolved as chroot(2) would: an
// absolute target starts at the root, ".." stops at the root. openat2(2) does that in one step with the open,
// so there is no check that a later system call could understand differently. Where it is missing (before
// Linux 5.6, or filtered by seccomp) the path is opened component by component, each with O_NOFOLLOW, links
// read through the very descriptor that was found to be one.

namespace shiplap {

/// Components of a name at most; the deepest path of 4096 bytes has fewer.
inline constexpr std::size_t max_path_depth = 2048;
/// Bytes of a component at most (NAME_MAX of Linux file systems).
inline constexpr std::size_t max_component_length = 255;

/// A name from an archive, checked: relative, without "..", NUL, or oversized parts. "." and repeated slashes
/// are dropped, so is a slash at the end.
class entry_path {
  public:
    /// Throws error{unsafe_entry} with `name` as its subject.
    static entry_path parse(std::string_view name) {
        auto const refuse = [name](std::string reason) {
            throw error{error_code::unsafe_entry, "extract", std::string{name}, std::move(reason)};
        };
        if (name.empty()) refuse("an entry needs a name");
        if (name.find('\0') != name.npos) refuse("a name must not contain a NUL byte");
        if (name.front() == '/') refuse("a name must be relative, this one is absolute");
        entry_path path;
        std::size_t depth = 0;
        for (auto rest = name; !rest.empty();) {
            auto const part = rest.substr(0, rest.find('/'));
            rest.remove_prefix(std::min(rest.size(), part.size() + 1));
            if (part.empty() || part == ".") continue;
            if (part == "..") refuse("a name must not contain '..'");
            if (part.size() > max_component_length)
                refuse("a component has " + std::to_string(part.size()) + " bytes, at most " +
                       std::to_string(max_component_length) + " are allowed");
            if (++depth > max_path_depth)
                refuse("lies more than " + std::to_string(max_path_depth) + " directories deep");
            if (!path.text_.empty()) path.text_ += '/';
            path.base_at_ = path.text_.size();
            path.text_ += part;
        }
        return path;
    }

    /// True for "." and the like: the root itself.
    [[nodiscard]] bool is_root() const noexcept { return text_.empty(); }
    /// The normal form; empty for the root.
    [[nodiscard]] std::string const& text() const noexcept { return text_; }
    /// All but the last component; empty for the root and its children.
    [[nodiscard]] std::string_view parent() const noexcept {
        return std::string_view{text_}.substr(0, base_at_ == 0 ? 0 : base_at_ - 1);
    }
    /// The last component.
    [[nodiscard]] char const* base() const noexcept { return text_.c_str() + base_at_; }

  private:
    std::string text_;
    std::size_t base_at_ = 0;
};

/// What makes a file the same file, whatever its name.
struct file_identity {
    ::dev_t device = 0;
    ::ino_t inode = 0;

    file_identity() = default;
    explicit file_identity(struct ::stat const& facts) noexcept : device{facts.st_dev}, inode{facts.st_ino} {}
    friend bool operator==(file_identity const&, file_identity const&) = default;
    friend auto operator<=>(file_identity const&, file_identity const&) = default;
};

/// How a root_directory finds things.
enum class path_resolver {
    kernel, ///< openat2(2), if it works here, else step by step
    steps,  ///< component by component
};

class root_directory {
  public:
    /// `root` is any descriptor of the directory, O_PATH included.
    explicit root_directory(unique_fd root, path_resolver how = path_resolver::kernel)
        : root_{std::move(root)}, how_{how} {
        if (how_ == path_resolver::kernel && !ask_kernel(".")) how_ = path_resolver::steps;
    }

    /// An O_PATH descriptor of the directory `path`, the root for "". Empty, with errno set, if there is
    /// none: ENOENT, ENOTDIR, ELOOP, EACCES, ...
    [[nodiscard]] unique_fd find_directory(std::string_view path) const {
        if (path.empty()) path = ".";
        // The kernel takes a path in one piece only; a piece of it would be a root of its own.
        if (how_ == path_resolver::steps || path.size() >= PATH_MAX) return go_by_steps(path);
        auto found = ask_kernel(std::string{path});
        // EAGAIN: something is being renamed meanwhile, so the kernel cannot vouch for "..".
        return found || errno != EAGAIN ? std::move(found) : go_by_steps(path);
    }

    /// As find_directory(), but makes what is missing, with mode 0700. Before each new directory
    /// `before(folder, path)` hears where it will be made, then `made(folder, fd, path)` hears of itself:
    /// descriptors and the path of the last one.
    template <class Before, class Made>
    unique_fd make_directories(std::string_view path, Before before, Made made) const {
        auto found = find_directory(path);
        auto known = path;
        while (!found && errno == ENOENT && !known.empty()) {
            auto const slash = known.rfind('/');
            known = known.substr(0, slash == known.npos ? 0 : slash);
            found = find_directory(known);
        }
        while (found && known.size() < path.size()) {
            before(found.get(), known);
            auto const start = known.empty() ? 0 : known.size() + 1;
            known = path.substr(0, path.find('/', start));
            std::string const name{known.substr(start)};
            // EEXIST: a link that leads nowhere, which is ENOENT, or another process was quicker.
            if (::mkdirat(found.get(), name.c_str(), 0700) != 0) {
                found = errno == EEXIST ? find_directory(known) : unique_fd{};
                continue;
            }
            unique_fd next{::openat(found.get(), name.c_str(), directory_handle)};
            if (next) made(found.get(), next.get(), known);
            found = std::move(next);
        }
        return found;
    }

    [[nodiscard]] int descriptor() const noexcept { return root_.get(); }
    /// What is really used.
    [[nodiscard]] path_resolver resolver() const noexcept { return how_; }

  private:
    /// Links followed in one path at most, as in the kernel.
    static constexpr unsigned max_links = 40;
    /// Directories opened again for ".." in link targets at most; no real image comes near.
    static constexpr std::size_t max_retraced = 100'000;
    static constexpr int directory_handle = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

    [[nodiscard]] unique_fd ask_kernel(std::string const& path) const {
        struct ::open_how how {};
        how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
        how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
        return unique_fd{static_cast<int>(detail::retry_interrupted(
            [&] { return ::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how); }))};
    }

    [[nodiscard]] unique_fd go_by_steps(std::string_view path) const {
        std::vector<std::string> way; // where `here` is: names that are directories, not links
        std::size_t work = 0;         // directories opened on the way back
        unique_fd here{::openat(root_.get(), ".", directory_handle)};
        auto to_do = split_reversed(path);
        for (unsigned links = 0; here && !to_do.empty();) {
            auto const name = std::move(to_do.back());
            to_do.pop_back();
            if (name == "..") {
                // From the root again: the kernel's ".." could be outside by now.
                if (!way.empty()) way.pop_back();
                if ((work += way.size()) > max_retraced) return fail(ELOOP);
                here = retrace(way);
                continue;
            }
            unique_fd next{::openat(here.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
            struct ::stat facts {};
            if (!next || ::fstat(next.get(), &facts) != 0) return {};
            if (S_ISDIR(facts.st_mode)) {
                here = std::move(next);
                way.push_back(name);
                continue;
            }
            if (!S_ISLNK(facts.st_mode)) return fail(ENOTDIR);
            if (++links > max_links) return fail(ELOOP);
            std::string target(PATH_MAX, '\0');
            auto const length = ::readlinkat(next.get(), "", target.data(), target.size());
            if (length < 0) return {};
            target.resize(static_cast<std::size_t>(length));
            if (target.empty()) return fail(ENOENT);
            if (target.front() == '/') {
                way.clear();
                here = retrace(way);
            }
            for (auto& part : split_reversed(target)) to_do.push_back(std::move(part));
        }
        return here;
    }

    [[nodiscard]] unique_fd retrace(std::vector<std::string> const& way) const {
        unique_fd here{::openat(root_.get(), ".", directory_handle)};
        for (auto const& name : way) {
            if (!here) break;
            here = unique_fd{::openat(here.get(), name.c_str(), directory_handle)};
        }
        return here;
    }

    static std::vector<std::string> split_reversed(std::string_view path) {
        std::vector<std::string> parts;
        while (!path.empty()) {
            auto const part = path.substr(0, path.find('/'));
            path.remove_prefix(std::min(path.size(), part.size() + 1));
            if (!part.empty() && part != ".") parts.emplace_back(part);
        }
        std::reverse(parts.begin(), parts.end());
        return parts;
    }

    static unique_fd fail(int number) noexcept {
        errno = number;
        return {};
    }

    unique_fd root_;
    path_resolver how_;
};

} // namespace shiplap

// === shiplap/sink/tree_removal.hpp ===

// tree_removal: takes a thing out of a directory, with all that lies below it, and never leaves the tree.
//
//     remove_tree(folder_fd, "name", "path/for/messages/name");
//
// Links are removed, not followed. One descriptor is open at a time, however deep the tree: an archive can
// build trees deeper than a process may have files, or than a path can name. The way back up is "..",
// accepted only if it leads to the directory that was left.
//
// What stays is the caller's to say, with a type of this shape (keep_nothing is one):
//
//     rules.keeps(folder, name) -> bool    this name in this directory stays; if it is a directory, what lies
//     below it
//                                          is asked for one by one
//     rules.entering(facts, path)          before a directory is looked into: how it was
//     rules.removed(identity)              a directory is gone

namespace shiplap {

template <class R>
concept removal_rules = requires(R& rules, file_identity const& folder, std::string_view name,
                                 struct ::stat const& facts, std::string const& path) {
    { rules.keeps(folder, name) } -> std::same_as<bool>;
    rules.entering(facts, path);
    rules.removed(folder);
};

/// All goes.
struct keep_nothing {
    [[nodiscard]] static bool keeps(file_identity const&, std::string_view) noexcept { return false; }
    static void entering(struct ::stat const&, std::string const&) noexcept {}
    static void removed(file_identity const&) noexcept {}
};

namespace detail {

/// What a name in a directory is; links are not followed.
inline struct ::stat stat_name(int folder, char const* name, std::string const& path) {
    struct ::stat facts {};
    if (::fstatat(folder, name, &facts, AT_SYMLINK_NOFOLLOW) != 0) throw system_error{"read", path, errno};
    return facts;
}

/// An owner without privileges must be able to list, search and change a directory to work in it.
inline bool needs_access(::mode_t mode) noexcept {
    return (mode & S_IRWXU) != S_IRWXU && ::geteuid() != 0;
}

/// Mode bits of a name, exactly these, whatever the umask; a link is refused, never followed.
inline void set_mode_at(int folder, char const* name, ::mode_t mode, std::string const& path) {
    if (::fchmodat(folder, name, mode, AT_SYMLINK_NOFOLLOW) != 0)
        throw system_error{"set mode of", path, errno};
}

template <removal_rules Rules>
class tree_remover {
  public:
    tree_remover(Rules& rules, std::string path) : rules_{rules}, path_{std::move(path)} {}

    /// Removes `names` from `folder`, whose path was given; false if something stays.
    bool run(int folder, std::vector<std::string> names) {
        here_ = unique_fd{::fcntl(folder, F_DUPFD_CLOEXEC, 0)};
        if (!here_) throw system_error{"remove", path_, errno};
        levels_.push_back(
            {file_identity{stat_open(here_.get(), path_)}, path_.size(), std::move(names), false});
        for (;;) {
            auto& current = levels_.back();
            if (!current.names.empty()) {
                auto const name = std::move(current.names.back());
                current.names.pop_back();
                if (!path_.empty()) path_ += '/';
                path_ += name;
                take(name);
            } else if (levels_.size() == 1) {
                return !current.keeps;
            } else {
                leave();
            }
        }
    }

  private:
    struct level {
        file_identity self;
        std::size_t path_size;
        std::vector<std::string> names; // those still to come
        bool keeps;                     // itself, or something in it, stays
    };

    void take(std::string const& name) {
        auto& current = levels_.back();
        bool const keep = rules_.keeps(current.self, name);
        if (!keep && (::unlinkat(here_.get(), name.c_str(), 0) == 0 || errno == ENOENT)) return drop_name();
        if (!keep && errno != EISDIR) throw system_error{"remove", path_, errno};
        auto const facts = stat_name(here_.get(), name.c_str(), path_);
        if (S_ISDIR(facts.st_mode)) return enter(name, facts, keep);
        if (!keep) throw system_error{"remove", path_, EISDIR}; // it was a directory a moment ago
        current.keeps = true;
        drop_name();
    }

    void enter(std::string const& name, struct ::stat const& facts, bool keep) {
        rules_.entering(facts, path_);
        if (needs_access(facts.st_mode))
            set_mode_at(here_.get(), name.c_str(), (facts.st_mode & 07777) | S_IRWXU, path_);
        unique_fd fd{::openat(here_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!fd) throw system_error{"remove", path_, errno};
        if (file_identity{stat_open(fd.get(), path_)} != file_identity{facts}) throw_moved();
        auto names = names_in(fd.get(), path_);
        here_ = std::move(fd);
        levels_.push_back({file_identity{facts}, path_.size(), std::move(names), keep});
    }

    void leave() {
        auto const done = std::move(levels_.back());
        levels_.pop_back();
        auto& parent = levels_.back();
        unique_fd up{::openat(here_.get(), "..", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!up) throw system_error{"remove", path_, errno};
        if (file_identity{stat_open(up.get(), path_)} != parent.self) throw_moved();
        here_ = std::move(up);
        if (done.keeps) {
            parent.keeps = true;
        } else {
            auto const name = path_.substr(parent.path_size == 0 ? 0 : parent.path_size + 1);
            if (::unlinkat(here_.get(), name.c_str(), AT_REMOVEDIR) != 0)
                throw system_error{"remove", path_, errno};
            rules_.removed(done.self);
        }
        drop_name();
    }

    void drop_name() { path_.resize(levels_.back().path_size); }

    [[noreturn]] void throw_moved() const {
        throw error{error_code::unsafe_entry, "remove", path_,
                    "was moved by another process meanwhile; nothing else may work in this tree"};
    }

    Rules& rules_;
    std::string path_;
    unique_fd here_;
    std::vector<level> levels_;
};

} // namespace detail

/// Removes `name` from the directory `folder`; `path` is where that directory lies, for messages and rules.
/// Returns true if nothing of it stays; it is no error if there was nothing. Throws system_error, and
/// error{unsafe_entry} if another process moves directories meanwhile.
template <removal_rules Rules>
bool remove_tree(int folder, std::string name, std::string path, Rules& rules) {
    return detail::tree_remover<Rules>{rules, std::move(path)}.run(folder, {std::move(name)});
}
inline void remove_tree(int folder, std::string name, std::string path) {
    keep_nothing all;
    remove_tree(folder, std::move(name), std::move(path), all);
}

/// Removes all that is in the directory `folder`, but not itself.
template <removal_rules Rules>
bool empty_directory(int folder, std::string path, Rules& rules) {
    unique_fd const readable{::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!readable) throw system_error{"read directory", path, errno};
    auto names = detail::names_in(readable.get(), path);
    return detail::tree_remover<Rules>{rules, std::move(path)}.run(folder, std::move(names));
}

} // namespace shiplap

// === shiplap/sink/layer_changes.hpp ===

// layer_changes: what one layer does to a tree while it is applied.
//
//   - which names it has brought: its whiteouts spare them, whatever comes first in the archive;
//   - how the directories that it works in shall be at the end: their modes may forbid the work (0555), and
//   their
//     times change with every name that comes or goes. A directory that has no entry gets back what it had.
//
// Directories are known by device and inode, names by the directory that they are in: links among the parents
// may give one thing several paths.
//
// Memory: about 100 bytes and the name for each entry, but none while there are no lower layers; about 150
// bytes and the path for each directory that changes.

namespace shiplap::detail {

/// atime and mtime of an entry.
inline std::array<::timespec, 2> file_times(timestamp time) noexcept {
    ::timespec const both{time.seconds, time.nanoseconds};
    return {both, both};
}

/// From any descriptor of a directory to one that its attributes can be changed through.
inline unique_fd open_directory(int handle, std::string const& path) {
    unique_fd fd{::openat(handle, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!fd) throw system_error{"open", path, errno};
    return fd;
}

/// How a directory shall be in the end; `path` leads to it inside the root, "" is the root.
struct directory_state {
    std::string path;
    ::mode_t mode = 0;
    timestamp mtime;
};

class layer_changes {
  public:
    layer_changes() = default;
    explicit layer_changes(root_directory const& root)
        : has_lower_{!names_in(open_directory(root.descriptor(), ".").get(), ".").empty()} {}

    /// Was there anything before this layer?
    [[nodiscard]] bool has_lower() const noexcept { return has_lower_; }

    /// This layer has brought `name` into the directory `folder`.
    void add(int folder, std::string_view name) {
        if (has_lower_) added_.insert(key(file_identity{stat_open(folder, std::string{name})}, name));
    }

    /// How an entry wants a directory.
    void set(file_identity const& directory, directory_state wanted) {
        directories_.insert_or_assign(directory, std::move(wanted));
    }

    /// Notes how a directory is, if nothing is known of it yet; true if so.
    bool remember(struct ::stat const& facts, std::string_view path) {
        auto const [known, is_new] = directories_.try_emplace(file_identity{facts});
        if (is_new)
            known->second = {std::string{path},
                             facts.st_mode & 07777,
                             {facts.st_mtim.tv_sec, static_cast<std::int32_t>(facts.st_mtim.tv_nsec)}};
        return is_new;
    }

    /// The names in this directory are about to change.
    void touch(int folder, std::string const& path) {
        auto const facts = stat_open(folder, path);
        if (!remember(facts, path) || !needs_access(facts.st_mode)) return;
        auto const self = "/proc/self/fd/" + std::to_string(folder); // fchmod() refuses an O_PATH descriptor
        if (::chmod(self.c_str(), (facts.st_mode & 07777) | S_IRWXU) != 0)
            throw system_error{"set mode of", path, errno};
    }

    /// Removes a name, whoever has brought it. `path` is that of `folder`.
    void remove(int folder, char const* name, std::string path) {
        removal all{*this, false};
        remove_tree(folder, name, std::move(path), all);
    }

    /// Removes what lower layers have brought at and below `name`.
    void remove_lower(int folder, char const* name, std::string path) {
        removal lower{*this, true};
        remove_tree(folder, name, std::move(path), lower);
    }

    /// Removes what lower layers have brought into `folder`.
    void empty_lower(int folder, std::string path) {
        removal lower{*this, true};
        empty_directory(folder, std::move(path), lower);
    }

    /// The layer is complete: directories get their modes and times, children before their parents, which may
    /// forbid the way.
    void settle(root_directory const& root) {
        std::vector<std::pair<file_identity, directory_state>> all{directories_.begin(), directories_.end()};
        directories_.clear();
        added_.clear();
        std::sort(all.begin(), all.end(),
                  [](auto const& a, auto const& b) { return a.second.path > b.second.path; });
        for (auto const& [id, wanted] : all) {
            auto const handle = root.find_directory(wanted.path);
            if (!handle) throw system_error{"set time of", wanted.path, errno};
            if (file_identity{stat_open(handle.get(), wanted.path)} != id)
                throw error{error_code::unsafe_entry, "set time of", wanted.path,
                            "leads to another directory than when it was extracted"};
            auto const fd = open_directory(handle.get(), wanted.path);
            if (::fchmod(fd.get(), wanted.mode) != 0) throw system_error{"set mode of", wanted.path, errno};
            if (::futimens(fd.get(), file_times(wanted.mtime).data()) != 0)
                throw system_error{"set time of", wanted.path, errno};
        }
    }

  private:
    /// The rules for tree_removal.
    struct removal {
        layer_changes& self;
        bool spare_added;

        [[nodiscard]] bool keeps(file_identity const& folder, std::string_view name) const {
            return spare_added && self.added_.contains(key(folder, name));
        }
        void entering(struct ::stat const& facts, std::string const& path) const {
            self.remember(facts, path);
        }
        void removed(file_identity const& id) const { self.directories_.erase(id); }
    };

    static std::string key(file_identity const& folder, std::string_view name) {
        std::string text(sizeof folder.device + sizeof folder.inode, '\0');
        std::memcpy(text.data(), &folder.device, sizeof folder.device);
        std::memcpy(text.data() + sizeof folder.device, &folder.inode, sizeof folder.inode);
        return text.append(name);
    }

    bool has_lower_ = false;
    std::set<std::string> added_; // key() of each name
    std::map<file_identity, directory_state> directories_;
};

} // namespace shiplap::detail

// === shiplap/sink/extraction.hpp ===

// extraction: what may come out of an archive, and how the metadata of an entry gets onto a file.
//
// Each policy has a default that is right for the root file system of a container:
//
//   ownership   numeric owners are kept by root and left alone by everyone else
//   devices     device nodes are skipped with a warning; fifos are made
//   xattrs      security.capability and user.* only: other namespaces change how this machine treats the
//   files
//               (security.selinux, trusted.overlay.*, user.overlay.*, system.posix_acl_*). What describes
//               overlayfs layers is dropped silently, the rest with a warning
//   mode        exact, set-id and sticky bits included, whatever the umask
//   times       the modification time, for the access time too, to the nanosecond; the file system clamps
//   what it
//               cannot hold (ext4: 1901 to 2446)

namespace shiplap {

enum class ownership_policy {
    automatic, ///< keep if the process is root, none otherwise
    keep,      ///< owners and groups as in the archive; an error if that is not permitted
    none,      ///< everything belongs to the process
};

enum class device_policy {
    skip,   ///< left out, with a warning that names the entry
    create, ///< made; needs CAP_MKNOD
    refuse, ///< an error that names the entry
};

/// Bounds of one layer.
struct extraction_limits {
    tar_limits tar{}; ///< entries and headers
    /// Plain bytes for each packed byte at most ...
    std::uint64_t expansion = 1000;
    /// ... beyond this many plain bytes. That much is harmless, and a small image may well hold one sparse
    /// file.
    std::uint64_t free_expansion = 64 * 1024 * 1024;
    /// Plain bytes at most.
    std::uint64_t bytes = std::uint64_t{1} << 40;
};

struct extraction_options {
    ownership_policy ownership = ownership_policy::automatic;
    device_policy devices = device_policy::skip;
    extraction_limits limits{};
    progress_ref progress{}; ///< hears warnings
};

namespace detail {

/// Tells each warning once, and not more than a person reads.
class warnings {
  public:
    explicit warnings(progress_ref progress) : progress_{progress} {}

    void operator()(std::string const& text) {
        if (told_.size() > most || !told_.insert(text).second) return;
        progress_.warn(told_.size() > most ? "there are more warnings like these" : text);
    }

  private:
    static constexpr std::size_t most = 100;
    progress_ref progress_;
    std::set<std::string> told_;
};

enum class xattr_verdict { set, drop_silently, drop_with_warning };

inline xattr_verdict judge_xattr(std::string_view name) noexcept {
    if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay."))
        return xattr_verdict::drop_silently;
    if (name == "security.capability" || (name.starts_with("user.") && name.find('\0') == name.npos))
        return xattr_verdict::set;
    return xattr_verdict::drop_with_warning;
}

/// Puts the metadata of entries onto files, according to the options.
class metadata_writer {
  public:
    explicit metadata_writer(extraction_options const& options)
        : owners_{options.ownership == ownership_policy::keep ||
                  (options.ownership == ownership_policy::automatic && ::geteuid() == 0)},
          warn_{options.progress} {}

    /// Owner, attributes, mode and times of an open file. In this order: a change of owner clears set-id bits
    /// and capabilities.
    void finish_file(int fd, tar_entry const& entry) {
        set_owner(fd, "", AT_EMPTY_PATH, entry);
        set_xattrs(fd, entry);
        if (::fchmod(fd, entry.mode & 07777) != 0) throw system_error{"set mode of", entry.name, errno};
        if (::futimens(fd, file_times(entry.mtime).data()) != 0)
            throw system_error{"set time of", entry.name, errno};
    }

    /// Owner and attributes of an open directory; mode and time come when its content is complete. Attributes
    /// that it has from a lower layer and not in `entry` go.
    void begin_directory(int fd, tar_entry const& entry, bool is_new) {
        set_owner(fd, "", AT_EMPTY_PATH, entry);
        if (!is_new) remove_xattrs(fd, entry);
        set_xattrs(fd, entry);
    }

    /// What can be set without opening: for links, fifos and devices.
    void finish_special(int folder, char const* name, tar_entry const& entry) {
        set_owner(folder, name, AT_SYMLINK_NOFOLLOW, entry);
        for (auto const& attribute : entry.xattrs)
            if (judge_xattr(attribute.name) != xattr_verdict::drop_silently)
                warn_("extract '" + printable(entry.name) + "': attribute '" + printable(attribute.name) +
                      "' is left out: only files and directories get attributes");
        if (entry.type != entry_type::symbolic_link)
            set_mode_at(folder, name, entry.mode & 07777, entry.name);
        if (::utimensat(folder, name, file_times(entry.mtime).data(), AT_SYMLINK_NOFOLLOW) != 0)
            throw system_error{"set time of", entry.name, errno};
    }

    void warn(std::string const& text) { warn_(text); }

  private:
    void set_owner(int at, char const* name, int flags, tar_entry const& entry) const {
        if (!owners_) return;
        // The highest number would mean "leave as it is".
        constexpr std::uint64_t most = std::numeric_limits<::uid_t>::max() - 1;
        if (entry.uid > most || entry.gid > most)
            throw error{error_code::unsafe_entry, "set owner of", entry.name,
                        "owner " + std::to_string(std::max(entry.uid, entry.gid)) + " is above " +
                            std::to_string(most)};
        if (::fchownat(at, name, static_cast<::uid_t>(entry.uid), static_cast<::gid_t>(entry.gid), flags) !=
            0)
            throw system_error{"set owner of", entry.name, errno};
    }

    void set_xattrs(int fd, tar_entry const& entry) {
        for (auto const& [name, value] : entry.xattrs) {
            auto const verdict = judge_xattr(name);
            if (verdict == xattr_verdict::drop_silently) continue;
            if (verdict == xattr_verdict::set &&
                ::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0)
                continue;
            bool const refused = verdict == xattr_verdict::set;
            if (refused && errno != EPERM && errno != ENOTSUP)
                throw system_error{"set attribute '" + printable(name) + "' of", entry.name, errno};
            warn_("attributes '" + printable(name) + "' are left out: " +
                  (refused ? "the file system or a missing privilege does not allow them"
                           : "only security.capability and user.* are extracted"));
        }
    }

    static void remove_xattrs(int fd, tar_entry const& entry) {
        auto const size = ::flistxattr(fd, nullptr, 0);
        if (size <= 0) return; // none, or a file system without attributes
        std::string names(static_cast<std::size_t>(size), '\0');
        auto const filled = ::flistxattr(fd, names.data(), names.size());
        if (filled < 0) throw system_error{"read attributes of", entry.name, errno};
        names.resize(static_cast<std::size_t>(filled));
        for (std::size_t at = 0; at < names.size(); at = names.find('\0', at) + 1) {
            auto const* const name = names.c_str() + at;
            if (judge_xattr(name) == xattr_verdict::set && ::fremovexattr(fd, name) != 0 && errno != EPERM)
                throw system_error{"remove attribute '" + printable(name) + "' of", entry.name, errno};
        }
    }

    bool owners_;
    warnings warn_;
};

} // namespace detail

} // namespace shiplap

// === shiplap/tar/reader.hpp ===

// tar_reader: pulls entries and their payloads out of a byte_source that holds a tar archive.
//
//     tar_reader tar{source, "layer.tar"};
//     while (auto const* entry = tar.next())
//         for (std::size_t n; (n = tar.read(buffer)) != 0;) ...
//
// What archives it reads and refuses: see scanner.hpp. The source is read to its end, also behind the
// archive's end marker, before next() says that there is no more: so a source that verifies a digest at its
// end has done so.

namespace shiplap {

template <byte_source R>
class tar_reader {
  public:
    /// Reads from `source`, which outlives the reader; `subject` names the archive in messages.
    tar_reader(R& source, std::string subject, tar_limits limits = {})
        : source_{&source}, scanner_{std::move(subject), limits}, buffer_(buffer_size) {}
    tar_reader(tar_reader&&) noexcept = default;
    tar_reader& operator=(tar_reader&&) noexcept = default;
    tar_reader(tar_reader const&) = delete;
    tar_reader& operator=(tar_reader const&) = delete;
    ~tar_reader() = default;

    /// The next entry, valid until the next call; payload that was not read is skipped. Null at the end.
    /// Throws format_error if the archive is malformed or truncated; a missing end marker is accepted, see
    /// saw_end_marker().
    tar_entry const* next() {
        piece_ = {};
        for (;;) {
            auto const found = scanner_.next(rest_);
            if (found == tar_scanner::event::entry) break;
            if (found == tar_scanner::event::need_more && !refill()) {
                unread_ = 0;
                scanner_.finish();
                return nullptr;
            }
        }
        unread_ = scanner_.entry().size;
        return &scanner_.entry();
    }

    /// Payload of the current entry: fills up to into.size() bytes; 0 means that it is over.
    std::size_t read(bytes_span into) {
        while (piece_.empty() && unread_ != 0) {
            if (scanner_.next(rest_) == tar_scanner::event::payload)
                piece_ = scanner_.payload();
            else if (!refill())
                scanner_.finish(); // throws: the payload is cut off
        }
        auto const n = std::min(into.size(), piece_.size());
        std::copy_n(piece_.begin(), n, into.begin());
        piece_ = piece_.subspan(n);
        unread_ -= n;
        return n;
    }

    /// After next() returned null: did the archive end as it should, in two zero blocks?
    [[nodiscard]] bool saw_end_marker() const noexcept { return scanner_.at_end_marker(); }
    /// After next() returned null: did bytes other than zeros follow the end marker?
    [[nodiscard]] bool trailing_data() const noexcept { return scanner_.trailing_data(); }

  private:
    static constexpr std::size_t buffer_size = 1 << 16;

    bool refill() {
        auto const n = source_->read(buffer_);
        rest_ = bytes_view{buffer_}.first(n);
        return n != 0;
    }

    R* source_;
    tar_scanner scanner_;
    std::vector<std::byte> buffer_;
    bytes_view rest_;  // of the buffer, not yet scanned
    bytes_view piece_; // scanned payload, not yet handed out
    std::uint64_t unread_ = 0;
};

} // namespace shiplap

// === shiplap/sink/apply.hpp ===

// layer_applier: applies layer tars to a root directory, bottom layer first (image-spec, layer.md, "Applying
// Changesets").
//
//     layer_applier rootfs{root_directory{...}};
//     rootfs.apply(tar_of_the_bottom_layer, "layer 1");
//     rootfs.apply(tar_of_the_next_layer, "layer 2");
//
// Nothing outside the root is touched, whatever the archive says; an entry that would need that is an
// error{unsafe_entry}, and every error names its entry.
//
//   entry              meets               result
//   directory          a directory         it keeps its children, its metadata is replaced
//   any                anything else       what is there goes, with all below it; links are not followed
//   any                a missing parent    the parent is made: mode 0755, time 0, owned by the process
//   hard link          its target          linked, not followed, inside the root; it must be there
//   .wh.x              x of lower layers   removed, but for what this layer brings at or below x, be it
//                                          before the whiteout or after it
//   .wh..wh..opq       its siblings        the same for each of them
//   .wh..wh.*                              AUFS' own: ignored, with what lies below it
//
// A directory that a layer changes without an entry of its own keeps its time. An exception leaves the tree
// half done and directories with too wide modes: throw it away then.

namespace shiplap {

class layer_applier {
  public:
    explicit layer_applier(root_directory root, extraction_options options = {})
        : root_{std::move(root)}, options_{options}, metadata_{options_} {}

    /// Applies one uncompressed tar and reads it to its end. `subject` names the layer in messages. Throws
    /// error{unsafe_entry}, format_error, system_error.
    void apply(byte_source_ref tar, std::string const& subject) {
        changes_ = detail::layer_changes{root_};
        tar_entries archive{tar, subject, options_.limits.tar};
        std::string name;
        try {
            while (auto const* entry = archive.next()) {
                name = entry->name;
                extract(*entry, archive);
                name.clear();
            }
            changes_.settle(root_);
        } catch (error& problem) {
            if (!name.empty() && problem.subject() != name)
                problem.within("extract '" + printable(name) + "'");
            if (problem.subject() != subject) problem.within(subject);
            throw;
        }
    }

    [[nodiscard]] root_directory const& root() const noexcept { return root_; }

  private:
    using tar_entries = tar_reader<byte_source_ref>;

    /// An entry on its way to its place.
    struct arrival {
        tar_entry const& entry;
        entry_path where;
        unique_fd parent; // of the directory it goes to

        [[nodiscard]] char const* name() const noexcept { return where.base(); }
        [[nodiscard]] error unsafe(std::string reason) const {
            return {error_code::unsafe_entry, "extract", entry.name, std::move(reason)};
        }
        [[noreturn]] void fail() const { throw system_error{"extract", entry.name, errno}; }
    };

    void extract(tar_entry const& entry, tar_entries& payload) {
        arrival item{entry, entry_path::parse(entry.name), {}};
        if (item.where.is_root()) return extract_root(item);
        switch (classify_whiteout(entry.name).kind) {
        case whiteout_kind::none:
            break;
        case whiteout_kind::ignored:
            return;
        case whiteout_kind::removal:
            return remove_lower(item, item.name() + whiteout_prefix.size());
        case whiteout_kind::opaque:
            return remove_lower(item, nullptr);
        }
        open_parent(item);
        switch (entry.type) {
        case entry_type::directory:
            return extract_directory(item);
        case entry_type::regular:
            return extract_file(item, payload);
        case entry_type::hard_link:
            return extract_hard_link(item);
        case entry_type::symbolic_link:
            return extract_symbolic_link(item);
        case entry_type::fifo:
            return extract_node(item, S_IFIFO);
        case entry_type::character_device:
            return extract_device(item, S_IFCHR);
        case entry_type::block_device:
            return extract_device(item, S_IFBLK);
        }
    }

    void extract_root(arrival const& item) {
        if (item.entry.type != entry_type::directory)
            throw item.unsafe("names the root, which can only be a directory");
        auto const fd = detail::open_directory(root_.descriptor(), item.entry.name);
        complete_directory(item, fd.get(), false);
    }

    void extract_directory(arrival const& item) {
        auto const make_it = [&] { return ::mkdirat(item.parent.get(), item.name(), 0700) == 0; };
        bool is_new = make_it();
        if (!is_new && errno != EEXIST) item.fail();
        if (!is_new) {
            auto const facts = detail::stat_name(item.parent.get(), item.name(), item.entry.name);
            if (!S_ISDIR(facts.st_mode)) {
                make_room(item);
                is_new = make_it();
                if (!is_new) item.fail();
            } else if (changes_.remember(facts, item.where.text()) && detail::needs_access(facts.st_mode)) {
                detail::set_mode_at(item.parent.get(), item.name(), (facts.st_mode & 07777) | S_IRWXU,
                                    item.entry.name);
            }
        }
        unique_fd const fd{
            ::openat(item.parent.get(), item.name(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!fd) item.fail();
        complete_directory(item, fd.get(), is_new);
        note_added(item);
    }

    void complete_directory(arrival const& item, int fd, bool is_new) {
        auto const facts = detail::stat_open(fd, item.entry.name);
        metadata_.begin_directory(fd, item.entry, is_new);
        changes_.set(file_identity{facts}, {item.where.text(), item.entry.mode & 07777, item.entry.mtime});
    }

    void extract_file(arrival const& item, tar_entries& payload) {
        unique_fd file;
        make(item, [&] {
            file = unique_fd{::openat(item.parent.get(), item.name(),
                                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
            return file ? 0 : -1;
        });
        write_payload(file.get(), item.entry, payload);
        metadata_.finish_file(file.get(), item.entry);
    }

    // Stretches of zeros become holes.
    void write_payload(int fd, tar_entry const& entry, tar_entries& payload) {
        buffer_.resize(transfer_size);
        bytes_span const space{reinterpret_cast<std::byte*>(buffer_.data()), buffer_.size()};
        bool ends_in_hole = false;
        while (auto const n = read_fully(payload, space)) {
            bytes_view const piece{space.first(n)};
            ends_in_hole =
                piece[0] == std::byte{0} && std::memcmp(piece.data(), piece.data() + 1, n - 1) == 0;
            if (!ends_in_hole)
                detail::write_fully(fd, piece, entry.name);
            else if (::lseek(fd, static_cast<::off_t>(n), SEEK_CUR) < 0)
                throw system_error{"write", entry.name, errno};
        }
        if (ends_in_hole && ::ftruncate(fd, static_cast<::off_t>(entry.size)) != 0)
            throw system_error{"write", entry.name, errno};
    }

    void extract_hard_link(arrival const& item) {
        auto const refuse = [&](std::string const& reason) {
            throw item.unsafe("its hard link target '" + printable(item.entry.link_name) + "' " + reason);
        };
        entry_path target;
        try {
            target = entry_path::parse(item.entry.link_name);
        } catch (error const& problem) {
            refuse("is refused: " + problem.reason());
        }
        if (target.is_root()) refuse("is the root");
        auto const folder = root_.find_directory(target.parent());
        struct ::stat facts {};
        if (!folder || ::fstatat(folder.get(), target.base(), &facts, AT_SYMLINK_NOFOLLOW) != 0) {
            if (!skipped_.contains(target.text())) refuse("is not in the image");
            return skip_device(item);
        }
        if (S_ISDIR(facts.st_mode)) refuse("is a directory");
        struct ::stat present {};
        bool const is_there = ::fstatat(item.parent.get(), item.name(), &present, AT_SYMLINK_NOFOLLOW) == 0 &&
                              file_identity{present} == file_identity{facts};
        if (is_there) return note_added(item);
        make(item, [&] { return ::linkat(folder.get(), target.base(), item.parent.get(), item.name(), 0); });
    }

    void extract_symbolic_link(arrival const& item) {
        auto const& target = item.entry.link_name;
        if (target.empty() || target.find('\0') != target.npos)
            throw item.unsafe("a symbolic link needs a target without NUL bytes");
        make(item, [&] { return ::symlinkat(target.c_str(), item.parent.get(), item.name()); });
        metadata_.finish_special(item.parent.get(), item.name(), item.entry);
    }

    void extract_device(arrival const& item, ::mode_t type) {
        switch (options_.devices) {
        case device_policy::create:
            return extract_node(item, type);
        case device_policy::refuse:
            throw item.unsafe("is a device node");
        case device_policy::skip:
            return skip_device(item);
        }
    }

    void skip_device(arrival const& item) {
        make_room(item);
        skipped_.insert(item.where.text());
        metadata_.warn("extract '" + printable(item.entry.name) + "': device nodes are left out");
    }

    void extract_node(arrival const& item, ::mode_t type) {
        auto const device =
            type == S_IFIFO ? ::dev_t{} : ::makedev(item.entry.device_major, item.entry.device_minor);
        make(item, [&] { return ::mknodat(item.parent.get(), item.name(), type | 0600, device); });
        metadata_.finish_special(item.parent.get(), item.name(), item.entry);
    }

    /// Runs a system call that makes the name of `item`; what has it already is removed first.
    template <class Call>
    void make(arrival const& item, Call call) {
        if (call() != 0) {
            if (errno != EEXIST) item.fail();
            make_room(item);
            if (call() != 0) item.fail();
        }
        note_added(item);
    }

    void make_room(arrival const& item) {
        changes_.remove(item.parent.get(), item.name(), std::string{item.where.parent()});
    }

    /// Removes what lower layers have: `name` beside the whiteout, or all there is for an opaque marker.
    void remove_lower(arrival const& whiteout, char const* name) {
        if (!changes_.has_lower()) return;
        std::string const path{whiteout.where.parent()};
        auto const folder = root_.find_directory(path);
        if (!folder && (errno == ENOENT || errno == ENOTDIR)) return; // nothing there to remove
        if (!folder) throw_unreachable(whiteout, errno);
        changes_.touch(folder.get(), path);
        if (name == nullptr)
            changes_.empty_lower(folder.get(), path);
        else
            changes_.remove_lower(folder.get(), name, path);
    }

    void open_parent(arrival& item) {
        auto const before = [&](int folder, std::string_view path) {
            changes_.touch(folder, std::string{path});
        };
        auto const made = [&](int folder, int fd, std::string_view path) {
            changes_.set(file_identity{detail::stat_open(fd, item.entry.name)},
                         {std::string{path}, 0755, {}});
            changes_.add(folder, path.substr(path.rfind('/') + 1)); // all of it if there is no '/'
        };
        item.parent = root_.make_directories(item.where.parent(), before, made);
        if (!item.parent) throw_unreachable(item, errno);
        before(item.parent.get(), item.where.parent());
    }

    void note_added(arrival const& item) { changes_.add(item.parent.get(), item.name()); }

    [[noreturn]] static void throw_unreachable(arrival const& item, int number) {
        auto const parent = "its parent directory '" + printable(item.where.parent()) + "' ";
        if (number == ENOENT)
            throw item.unsafe(parent + "is a symbolic link that leads nowhere inside the root");
        if (number == ENOTDIR) throw item.unsafe(parent + "is not a directory");
        if (number == ELOOP) throw item.unsafe(parent + "leads through too many symbolic links");
        throw system_error{"extract", item.entry.name, number};
    }

    root_directory root_;
    extraction_options options_;
    detail::metadata_writer metadata_;
    detail::layer_changes changes_;
    std::string buffer_;
    std::set<std::string> skipped_; // paths of device nodes that were left out
};

} // namespace shiplap

// === shiplap/sink/plain_layer.hpp ===

// plain_layer: what a packed layer holds, while it is checked: how far it may expand, and that its plain bytes are
// those of the diff_id in the configuration (image-spec, config.md, "Layer DiffID").
//
//     plain_layer plain{packed, "gzip", diff_id, limits, "layer 1 (sha256:...)"};
//     ... plain.read(buffer) ...       // a byte_source
//     plain.finish();                  // reads what is left, and checks

namespace shiplap {

namespace detail {

/// Counts what is read.
struct counting_source {
    replayable_source_ref from;
    std::uint64_t& count;
    std::size_t read(bytes_span into) {
        auto const n = from.read(into);
        count += n;
        return n;
    }
};

/// The plain bytes of a layer: bounded in what they may expand to, and hashed.
class plain_layer {
  public:
    /// Reads from `packed`, which holds a layer in this encoding; `subject` names it in messages.
    plain_layer(replayable_source_ref packed, std::string_view encoding, digest expected,
                extraction_limits const& limits, std::string subject)
        : packed_{packed},
          plain_{decode_as(encoding, any_byte_source{counting_source{packed, packed_size_}})},
          expected_{std::move(expected)},
          limits_{limits},
          subject_{std::move(subject)},
          hasher_{expected_} {}
    plain_layer(plain_layer const&) = delete;
    plain_layer& operator=(plain_layer const&) = delete;
    ~plain_layer() = default;

    std::size_t read(bytes_span into) {
        auto const n = plain_.read(into);
        size_ += n;
        if (size_ > limits_.bytes) refuse("has more than " + std::to_string(limits_.bytes) + " plain bytes");
        if (size_ > limits_.free_expansion && size_ / limits_.expansion > packed_size_)
            refuse("expands to more than " + std::to_string(limits_.expansion) + " times its size");
        hasher_.update(into.first(n));
        return n;
    }

    /// Reads what is left; throws digest_mismatch if the bytes are not those of the diff_id.
    void finish() {
        null_sink drop;
        transfer(*this, drop);
        transfer(packed_, drop); // what the decoder left, so that the source verifies all of it
        auto const found = hasher_.finish();
        if (found != expected_)
            throw digest_mismatch{"extract", subject_,
                                  "unpacks to " + found.text() + ", its configuration says " +
                                      expected_.text()};
    }

  private:
    [[noreturn]] void refuse(std::string reason) const {
        throw error{error_code::unsafe_entry, "decompress", subject_, std::move(reason)};
    }

    replayable_source_ref packed_;
    std::uint64_t packed_size_ = 0, size_ = 0;
    any_byte_source plain_;
    digest expected_;
    extraction_limits limits_;
    std::string subject_;
    digest_hasher hasher_;
};

/// The diff_ids of the configuration that is read from `from`, one for each of so many layers. Throws
/// format_error.
inline std::vector<digest> read_diff_ids(descriptor const& what, replayable_source_ref from,
                                         std::size_t layers) {
    if (what.size > max_document_size)
        throw format_error{"read image config", what.digest.text(),
                           "has more than " + std::to_string(max_document_size) + " bytes"};
    string_sink text;
    transfer(from, text);
    auto diff_ids = read_config(text.text, what.digest.text()).diff_ids;
    if (diff_ids.size() != layers)
        throw format_error{"read image config", what.digest.text(),
                           "has " + std::to_string(diff_ids.size()) + " diff_ids for " +
                               std::to_string(layers) + " layers"};
    return diff_ids;
}

} // namespace detail

} // namespace shiplap

// === shiplap/sink/staged_directory.hpp ===

// staged_directory: a directory that appears whole or not at all, as staged_file is for files.
//
//     staged_directory tree{"rootfs"};         // rootfs does not exist, or is an empty directory
//     fill(tree.descriptor());                 // .shiplap-XXXXXX/tree beside it, which nobody else can look
//     into tree.publish();                          // now it is rootfs
//
// Without publish() the destructor removes everything, jail-safe: whatever was extracted cannot lead it
// astray.

namespace shiplap {

class staged_directory {
  public:
    /// Checks the destination and makes the directory, with mode 0755 and time 0. Folders above the
    /// destination may be missing. Throws option_error if there is something already, system_error.
    explicit staged_directory(std::string destination) : staged_directory{} {
        destination_ = checked(std::move(destination));
        auto const folder = detail::existing_ancestor(detail::parent_of(destination_));
        folder_ = detail::open_file(folder, O_PATH | O_DIRECTORY);
        auto pattern = folder + "/.shiplap-XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr) throw system_error{"create directory in", folder, errno};
        label_ = pattern;
        name_ = pattern.substr(pattern.rfind('/') + 1);
        outer_ =
            unique_fd{::openat(folder_.get(), name_.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!outer_ || ::mkdirat(outer_.get(), inner_name, 0700) != 0) fail();
        inner_ =
            unique_fd{::openat(outer_.get(), inner_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        std::array<::timespec, 2> const epoch{};
        if (!inner_ || ::fchmod(inner_.get(), 0755) != 0 || ::futimens(inner_.get(), epoch.data()) != 0)
            fail();
    }
    staged_directory(staged_directory&& other) noexcept : staged_directory{} { *this = std::move(other); }
    staged_directory& operator=(staged_directory&& other) noexcept {
        std::swap(destination_, other.destination_);
        std::swap(label_, other.label_);
        std::swap(name_, other.name_);
        std::swap(folder_, other.folder_);
        std::swap(outer_, other.outer_);
        std::swap(inner_, other.inner_);
        return *this;
    }
    ~staged_directory() {
        if (name_.empty()) return;
        try {
            remove_tree(folder_.get(), name_, label_);
        } catch (error const&) { // NOLINT(bugprone-empty-catch): on the way out of a failure already
        }
    }

    [[nodiscard]] int descriptor() const noexcept { return inner_.get(); }
    /// Where it will be.
    [[nodiscard]] std::string const& destination() const noexcept { return destination_; }
    /// Where it is, for messages.
    [[nodiscard]] std::string const& label() const noexcept { return label_; }

    /// Makes all of it durable, then visible. Throws system_error, also if the destination is no longer
    /// empty.
    void publish() {
        if (::syncfs(inner_.get()) != 0) throw system_error{"sync", destination_, errno};
        auto const folder = detail::parent_of(destination_);
        std::filesystem::create_directories(folder);
        // A directory that moves gets another "..": its owner needs write permission for that.
        auto const mode = detail::stat_open(inner_.get(), label_).st_mode;
        bool const locked = detail::needs_access(mode);
        if (locked) set_mode(mode | S_IRWXU);
        if (::renameat(outer_.get(), inner_name, AT_FDCWD, destination_.c_str()) != 0)
            throw system_error{"write", destination_, errno};
        if (locked) set_mode(mode);
        detail::sync_directory(folder);
        if (::unlinkat(folder_.get(), name_.c_str(), AT_REMOVEDIR) != 0) fail();
        name_.clear();
    }

  private:
    static constexpr char const* inner_name = "tree";

    staged_directory() = default;

    [[noreturn]] void fail() const { throw system_error{"create directory", label_, errno}; }

    void set_mode(::mode_t mode) const {
        if (::fchmod(inner_.get(), mode & 07777) != 0) throw system_error{"set mode of", destination_, errno};
    }

    /// The path to rename to: without a link at its end, which a rename would not follow.
    static std::string checked(std::string path) {
        while (path.size() > 1 && path.back() == '/') path.pop_back();
        if (path.empty()) throw option_error{"extract to", path, "needs the name of a directory"};
        struct ::stat facts {};
        if (::lstat(path.c_str(), &facts) != 0) {
            if (errno != ENOENT) throw system_error{"extract to", path, errno};
            return path;
        }
        if (S_ISLNK(facts.st_mode) && ::stat(path.c_str(), &facts) != 0)
            throw option_error{"extract to", path, "is a symbolic link that leads nowhere"};
        if (!S_ISDIR(facts.st_mode)) throw option_error{"extract to", path, "exists and is not a directory"};
        if (!detail::names_in(detail::open_file(path, O_RDONLY | O_DIRECTORY).get(), path).empty())
            throw option_error{"extract to", path, "is not empty; name a new directory or an empty one"};
        return std::filesystem::canonical(path).string();
    }

    std::string destination_, label_, name_; // name_: of the outer directory, empty if there is none
    unique_fd folder_, outer_, inner_;
};

} // namespace shiplap

// === shiplap/sink/filesystem.hpp ===

// filesystem_sink: the root file system of an image in a directory, as its container would see it.
//
//     filesystem_sink rootfs{"rootfs"};        // does not exist yet, or is empty
//     copy(root, {}, store, rootfs, env);
//
// One image is extracted: the one for options.platform; by default the only one there is, else the one for
// this machine. Its layers are applied bottom to top, safe against hostile archives (see apply.hpp), in a
// hidden directory beside the destination, which takes the destination's name at commit() and is removed
// otherwise.
//
// Checked on the way: the bytes of each layer (by the source), its plain bytes against the diff_id of the
// configuration (image-spec, config.md, "Layer DiffID"), and how far it may expand.

namespace shiplap {

struct filesystem_options {
    std::optional<shiplap::platform> platform{}; ///< which image of an index
    extraction_options extraction{};
};

/// An arranging_sink.
class filesystem_sink {
  public:
    /// Throws option_error if there is something at `path` already, system_error if it cannot be written.
    explicit filesystem_sink(std::string path, filesystem_options options = {})
        : options_{std::move(options)}, tree_{std::move(path)} {}

    /// The configuration, then the layers bottom to top. Throws error{not_found} if there is no image for the
    /// platform, error{unsupported} for a layer that is no tar.
    [[nodiscard]] std::vector<descriptor> arrange(image_graph const& graph) {
        auto const image = choose(graph).manifest;
        if (done_ != 0) tree_ = staged_directory{tree_.destination()}; // not what an earlier attempt has left
        done_ = 0;
        plan_ = {image.config};
        for (auto const& layer : image.layers) {
            static_cast<void>(layer_encoding(layer.media_type));
            plan_.push_back(layer);
        }
        applier_.emplace(root_directory{detail::open_directory(tree_.descriptor(), tree_.label())},
                         options_.extraction);
        return plan_;
    }

    [[nodiscard]] bool exists(descriptor const&) const noexcept { return false; }

    /// Takes the next content in the order of arrange().
    void put(descriptor const& what, replayable_source_ref from) {
        if (done_ == plan_.size() || plan_[done_].digest != what.digest)
            throw error{error_code::unsupported, "extract", what.digest.text(),
                        "is not what arrange() wants next"};
        if (done_ == 0)
            diff_ids_ = detail::read_diff_ids(what, from, plan_.size() - 1);
        else
            take_layer(what, from);
        ++done_;
    }

    void tag(descriptor const&, image_name const&) const noexcept {} // a directory has its own name

    /// Makes the directory visible.
    void commit() {
        if (plan_.empty() || done_ != plan_.size())
            throw error{error_code::unsupported, "extract", tree_.destination(), "not all layers were put"};
        tree_.publish();
    }

    /// A folder on the file system of the destination, for what is staged on the way to it.
    [[nodiscard]] std::string staging_folder() const {
        return detail::existing_ancestor(detail::parent_of(tree_.destination()));
    }

  private:
    [[nodiscard]] selected_image choose(image_graph const& graph) const {
        if (options_.platform) return select_platform(graph, options_.platform);
        try {
            return select_platform(graph, std::nullopt);
        } catch (error const& problem) { // several, or none: the next line says which
            if (problem.code() != error_code::not_found) throw;
            return select_platform(graph, host_platform());
        }
    }

    void take_layer(descriptor const& what, replayable_source_ref from) {
        auto const subject = "layer " + std::to_string(done_) + " (" + what.digest.text() + ")";
        try {
            detail::plain_layer plain{from, layer_encoding(what.media_type), diff_ids_[done_ - 1],
                                      options_.extraction.limits, subject};
            applier_->apply(plain, subject);
            plain.finish();
        } catch (error& problem) {
            if (std::string_view{problem.what()}.find(subject) == std::string_view::npos)
                problem.within(subject);
            throw;
        }
    }

    filesystem_options options_;
    staged_directory tree_;
    std::optional<layer_applier> applier_;
    std::vector<descriptor> plan_; // the configuration, then the layers
    std::size_t done_ = 0;         // of plan_
    std::vector<digest> diff_ids_;
};

} // namespace shiplap

// === shiplap/store/blob_lease.hpp ===

// blob_lease: how a process says that it relies on a blob that no image names, or not for long.
//
// An export finds blobs in the layout that it need not write, and enters in index.json much later what refers to them.
// Meanwhile it keeps those files open with a shared lock (flock) on each. Who removes a blob takes the exclusive lock
// first and leaves alone what it cannot get. Nothing is written for that, so nothing remains of a killed process.

namespace shiplap::detail {

/// Takes the lease of an open blob, which lasts as long as the file is open. False if the blob was removed before.
inline bool lease_blob(file_reader const& blob) {
    // A file system without such locks lets publish() find out what was removed.
    (void)retry_interrupted([&] { return ::flock(blob.descriptor(), LOCK_SH); });
    struct ::stat facts {};
    if (::fstat(blob.descriptor(), &facts) != 0) throw system_error{"read", blob.path(), errno};
    return facts.st_nlink != 0;
}

/// Removes the blob at `path`, or with `only_try` just says whether it would. False if somebody has a lease of it.
inline bool remove_unleased(std::string const& path, bool only_try) {
    auto const file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (retry_interrupted([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) != 0) {
        if (errno == EWOULDBLOCK) return false;
        throw system_error{"lock", path, errno};
    }
    if (!only_try && ::unlink(path.c_str()) != 0) throw system_error{"remove", path, errno};
    return true;
}

} // namespace shiplap::detail

// === shiplap/store/created_paths.hpp ===

// created_paths: what a failed operation has to take back.
//
//     created_paths created;
//     make_folders("some/where", created);       // notes each directory that was not there
//     write_file("some/where/file", text);
//     created.add("some/where/file");
//     created.keep();                            // done; without it, the destructor removes all of it again

namespace shiplap::detail {

/// What stat(2) says; nothing if there is no such file.
inline std::optional<struct ::stat> file_facts(std::string const& path) {
    struct ::stat facts {};
    if (::stat(path.c_str(), &facts) == 0) return facts;
    if (errno == ENOENT) return {};
    throw system_error{"open", path, errno};
}

/// Files and directories that an operation made, in order; removed in the opposite one unless it succeeds.
class created_paths {
  public:
    created_paths() = default;
    created_paths(created_paths const&) = delete;
    created_paths& operator=(created_paths const&) = delete;
    ~created_paths() {
        // Directories that hold something of others by now refuse to go, as they should.
        for (; !paths_.empty(); paths_.pop_back()) (void)std::remove(paths_.back().c_str());
    }

    void add(std::string path) { paths_.push_back(std::move(path)); }
    void keep() noexcept { paths_.clear(); }
    [[nodiscard]] std::vector<std::string> const& paths() const noexcept { return paths_; }

  private:
    std::vector<std::string> paths_;
};

/// Makes a directory and those above it, where they do not exist, with mode 0755 whatever the umask. Leaves
/// alone what is there, directory or not: using it will tell.
inline void make_folders(std::string const& path, created_paths& created) {
    auto const make = [&] { return ::mkdir(path.c_str(), 0755) == 0 ? 0 : errno; };
    auto failure = make();
    if (failure == ENOENT && parent_of(path) != path) {
        make_folders(parent_of(path), created);
        failure = make();
    }
    if (failure == EEXIST) return;
    if (failure != 0) throw system_error{"create directory", path, failure};
    created.add(path);
    auto const made = file_facts(path); // may have inherited a set-group-ID bit, which stays
    if (!made || ::chmod(path.c_str(), (made->st_mode & 07000u) | 0755u) != 0)
        throw system_error{"set mode of", path, errno};
}

} // namespace shiplap::detail

// === shiplap/store/layout.hpp ===

// layout_store: an OCI image layout, the directory form of images (image-spec, image-layout.md):
//
//     oci-layout                 the version of the form
//     index.json                 which images there are, and their names
//     blobs/<algorithm>/<hex>    everything they consist of
//
// New blobs wait without a name on the file system of the layout and become files only in publish(), which
// then replaces index.json in one step, under a lock on the directory. So a failed or killed export leaves a
// layout as it was, and two exports into one layout at the same time both end up in it. A directory that does
// not exist is made by publish() and not before.

namespace shiplap {

class layout_store {
  public:
    using writer = scratch_store::writer;

    /// The layout in directory `path`, which need not exist yet. Touches nothing. Throws system_error if
    /// `path` is something else, format_error if it is a directory of other things or a layout of an unknown
    /// version.
    explicit layout_store(std::string path) : path_{without_slashes(std::move(path))}, pending_{path_} {
        if (path_.empty()) throw option_error{"open layout", path_, "the path must not be empty"};
        (void)check_folder();
    }

    [[nodiscard]] std::string const& path() const noexcept { return path_; }

    /// A new blob: staged until publish(), gone if there is none.
    [[nodiscard]] writer open() {
        // Where the blobs will be, or are: "blobs" may be a mount or a symbolic link.
        return pending_.open(detail::existing_ancestor(path_ + "/blobs"));
    }

    [[nodiscard]] bool contains(digest const& which) const {
        if (pending_.contains(which)) return true;
        auto const facts = detail::file_facts(blob_path(which));
        return facts && S_ISREG(facts->st_mode);
    }

    /// Such a blob is staged: it was hashed on its way in, and has no name before publish().
    [[nodiscard]] bool owns(content_facts const& what) const { return pending_.owns(what); }

    /// Staged blobs are found as well.
    [[nodiscard]] file_reader reader(digest const& which) const {
        if (auto staged = pending_.find(which)) return std::move(*staged);
        auto const path = blob_path(which);
        auto const facts = detail::file_facts(path);
        if (!facts || !S_ISREG(facts->st_mode)) // opening a fifo would wait for ever
            throw error{error_code::not_found, "read blob", which.text(),
                        "not in layout '" + printable(path_) + "'"};
        return file_reader{path};
    }

    /// Whether the blob is here with the size and digest that it should have. Reads it once, unless it is
    /// staged: those were verified when they were written. From then on shiplap's own garbage collection
    /// leaves it alone, as long as this store lives; publish() fails if somebody else has removed it.
    [[nodiscard]] bool holds(content_facts const& what) {
        if (auto const staged = pending_.find(what.digest)) return size_of(*staged) == what.size;
        auto const facts = detail::file_facts(blob_path(what.digest));
        if (!facts || !S_ISREG(facts->st_mode) || static_cast<std::uint64_t>(facts->st_size) != what.size)
            return false;
        {
            std::lock_guard const lock{relied_->mutex};
            if (relied_->blobs.contains(what.digest)) return true;
        }
        auto blob = lease(what.digest);
        if (!blob) return false;
        try {
            verified_source source{replayable_source_ref{*blob}, what.digest, what.size};
            null_sink nowhere;
            transfer(source, nowhere);
        } catch (digest_mismatch const&) {
            return false;
        }
        std::lock_guard const lock{relied_->mutex};
        // Each lease is an open file. Of an image that has more blobs than that, publish() finds out in the end.
        if (relied_->blobs.insert(what.digest).second && relied_->leases.size() < max_leases)
            relied_->leases.push_back(std::move(*blob));
        return true;
    }

    /// The images that index.json lists. Throws error{not_found} if there is no layout, format_error.
    [[nodiscard]] std::vector<descriptor> entries() const {
        auto const index = path_ + "/index.json";
        if (!check_folder() || !detail::file_facts(index))
            throw error{error_code::not_found, "open layout", path_, "there is no OCI image layout"};
        return parse_layout_index(read_file(index, max_document_size), index);
    }

    /// The image called `name`: see find_entry().
    [[nodiscard]] descriptor resolve(std::string_view name) const {
        return find_entry(entries(), name, path_);
    }

    /// Makes all staged blobs visible and durable, then enters `entries` in index.json: see
    /// merge_layout_index(). A staged blob replaces a file of its name, which may have been damaged. If it
    /// throws, index.json is as before and files that it made are gone again.
    void publish(std::span<descriptor const> entries) {
        std::optional<folder_lock> lock;
        detail::created_paths created; // goes before the lock does
        lock.emplace(make_and_lock(created));
        bool const exists = check_folder(); // again: this time nobody can interfere
        require_relied();
        auto const index = path_ + "/index.json";
        std::optional<std::string> existing;
        if (detail::file_facts(index)) existing = read_file(index, max_document_size);
        auto const text = merge_layout_index(existing, entries, index);

        // First of all, for it makes the directory a layout in the eyes of others.
        if (auto const header = path_ + "/oci-layout"; !exists) {
            write_file(header, layout_header);
            created.add(header);
        }
        std::vector<std::string> touched; // directories that hold new names, a handful
        auto const touch = [&](std::string const& folder) {
            if (std::find(touched.begin(), touched.end(), folder) == touched.end()) touched.push_back(folder);
        };
        auto blobs = pending_.take();
        for (auto& [which, file] : blobs) file.start_writing();
        for (auto& [which, file] : blobs) file.settle(blob_path(which), 0644);
        for (auto& [which, file] : blobs) {
            auto const path = blob_path(which);
            auto const folder = detail::parent_of(path);
            detail::make_folders(folder, created);
            bool const replaced = detail::file_facts(path).has_value();
            file.name(path);
            if (!replaced) created.add(path);
            touch(folder);
        }
        for (auto const& path : created.paths()) touch(detail::parent_of(path));
        for (auto const& folder : touched) detail::sync_directory(folder);

        bool const changed = existing != text;
        if (changed) write_file(index, text);
        created.keep();
        if (changed) detail::sync_directory(path_);
    }

  private:
    struct relied_blobs {
        std::mutex mutex;
        std::set<digest> blobs;
        std::vector<file_reader> leases;
    };
    static constexpr std::size_t max_leases = 256;

    /// Nothing if the blob was removed meanwhile.
    [[nodiscard]] std::optional<file_reader> lease(digest const& which) const {
        try {
            file_reader blob{blob_path(which)};
            if (detail::lease_blob(blob)) return blob;
        } catch (system_error const& failure) {
            if (failure.number() != ENOENT) throw;
        }
        return std::nullopt;
    }

    static std::string without_slashes(std::string path) {
        while (path.size() > 1 && path.ends_with('/')) path.pop_back();
        return path;
    }

    static std::uint64_t size_of(file_reader const& file) {
        struct ::stat facts {};
        if (::fstat(file.descriptor(), &facts) != 0) throw system_error{"read", file.path(), errno};
        return static_cast<std::uint64_t>(facts.st_size);
    }

    [[nodiscard]] std::string blob_path(digest const& which) const {
        return path_ + "/blobs/" + std::string{which.algorithm()} + "/" + std::string{which.encoded()};
    }

    // Whether there is a layout; false if there is nothing or an empty directory. Throws for anything else.
    [[nodiscard]] bool check_folder() const {
        auto const facts = detail::file_facts(path_);
        if (!facts) return false;
        if (!S_ISDIR(facts->st_mode)) throw system_error{"open layout", path_, ENOTDIR};
        // In this order, because publish() makes oci-layout before all else.
        bool const empty = holds_nothing();
        auto const header = path_ + "/oci-layout";
        if (detail::file_facts(header)) {
            check_layout_header(read_file(header, max_document_size), header);
            return true;
        }
        if (!empty) throw format_error{"open layout", path_, "is not an OCI image layout and not empty"};
        return false;
    }

    [[nodiscard]] bool holds_nothing() const {
        std::error_code failure;
        for (std::filesystem::directory_iterator entry{path_, failure}, end; !failure && entry != end;
             entry.increment(failure))
            // Other exports may have staged files where the file system knows no files without a name.
            if (!entry->path().filename().string().starts_with(".shiplap-")) return false;
        if (failure) throw system_error{"read directory", path_, failure.value()};
        return true;
    }

    [[nodiscard]] folder_lock make_and_lock(detail::created_paths& created) const {
        for (unsigned attempt = 0;; ++attempt) {
            try {
                detail::make_folders(path_, created);
                return folder_lock{path_};
            } catch (system_error const& failure) {
                // Another export may have failed just now, and removed the directory that it had made.
                if (failure.number() != ENOENT || attempt == 100) throw;
            }
        }
    }

    void require_relied() const {
        std::lock_guard const lock{relied_->mutex};
        for (auto const& which : relied_->blobs)
            if (!contains(which))
                throw error{error_code::not_found, "write layout", path_,
                            "blob " + which.text() + " was removed while the image was exported"};
    }

    std::string path_;
    scratch_store pending_;
    std::unique_ptr<relied_blobs> relied_ = std::make_unique<relied_blobs>();
};

} // namespace shiplap

// === shiplap/sink/layout.hpp ===

// layout_sink: an image in an OCI layout directory (image-spec, image-layout.md), beside those that are
// there.
//
//     copy(root, names, store, layout_sink{"app-layout"}, env);
//
// A storing_sink: layers are packed straight into the layout's store, and no byte is copied twice. What is
// there already, with the right size and digest, is not written again; a damaged blob is replaced. Nothing is
// visible before commit(): see layout_store::publish().
//
// Readers: skopeo and podman (oci:DIR:REF), umoci, crane, containerd, and shiplap itself (layout_store).

namespace shiplap {

class layout_sink {
  public:
    /// Into the layout in directory `path`, which is made if it does not exist. Errors as of layout_store.
    explicit layout_sink(std::string path) : store_{std::move(path)} {}

    [[nodiscard]] layout_store& store() noexcept { return store_; }

    /// Reads a blob that is there, once, to verify it.
    [[nodiscard]] bool exists(descriptor const& what) { return store_.holds({what.digest, what.size}); }

    void put(descriptor const& what, replayable_source_ref from) {
        store_blob(store_, {what.digest, what.size}, from);
    }

    /// An entry of index.json for this name, in place of one of the same name; without a name, one that can
    /// be found by its digest.
    void tag(descriptor const& root, image_name const& name) { entries_.push_back(named_entry(root, name)); }

    void commit() { store_.publish(std::exchange(entries_, {})); }

  private:
    layout_store store_;
    std::vector<descriptor> entries_;
};

} // namespace shiplap

// === shiplap/sink/oci_archive.hpp ===

// oci_archive_sink: an image as one tar file in the OCI layout, what `type=oci` writes.
//
//     copy(root, names, store, oci_archive_sink{"app.tar"}, env);
//
// See archive.hpp for its content and for what is promised about the file. Readers: skopeo and podman
// (oci-archive:), containerd (ctr image import), docker load from version 25 on.

namespace shiplap {

/// An arranging_sink.
class oci_archive_sink : public layout_archive {
  public:
    using layout_archive::layout_archive;

    /// Writes index.json with all names and publishes the file.
    void commit() { complete({}); }
};

} // namespace shiplap

// === shiplap/sink/shared_names.hpp ===

// shared_names: which hard links of stacked layers are left, and what they link to when some of the names of a
// file are hidden by a later layer. The part of flatten.hpp that knows of links.
//
//     shared_names names;
//     ... names.begin_layer(2); names.add_content("a"); names.add_link("b", "a", true); ... // topmost layer first
//     names.settle(is_hidden);
//     ... names.name_for_content(1, "a", stays) ... names.target_of("b", "a") ...           // bottom layer first
//
// Seen from above, a link moves who wants a content to another name, and the content ends the search:
//
//   layer 1    a = "text"               "b" wants it: written as b, if a is hidden
//   layer 2    b is a link to a         who wants b wants a, and b itself does if it stays
//   layer 3    removes a
//
// Memory: the names of the files of one layer, and each name that is a link.

namespace shiplap::detail {

/// Layers count from 1. Paths are in the one form that layer_flattener gives them.
class shared_names {
  public:
    /// What is added from now on is of this layer, which is not above the one before.
    void begin_layer(std::size_t layer) {
        if (layer == layer_) return;
        layer_ = layer;
        contents_.clear();
        links_.clear();
        for (auto const& [target, names] : std::exchange(wanted_here_, {})) append(wanted_[target], names);
    }

    /// There is something that is neither a directory nor a link.
    void add_content(std::string const& path) {
        contents_.insert(path);
        if (auto const wanted = wanted_.extract(path)) append(sharers_[{layer_, path}], wanted.mapped());
    }

    /// There is a hard link; `stays`: no later layer hides it.
    void add_link(std::string const& path, std::string target, bool stays) {
        origin from{std::move(target), false};
        if (auto const link = links_.find(from.name); link != links_.end())
            from = link->second;
        else
            from.is_here = contents_.contains(from.name);
        links_.insert_or_assign(path, from);

        linked names{{}, layer_};
        if (auto above = wanted_.extract(path)) names.names = std::move(above.mapped().names);
        if (stays) names.names.push_back(path);
        if (names.names.empty()) return;
        append(from.is_here ? sharers_[{layer_, from.name}] : wanted_here_[from.name], names);
    }

    /// All layers were seen; further calls do nothing. Content that was not met lies below all layers and has to
    /// stay there: throws error{unsupported} if `is_hidden(n, path)`, which says whether a layer above n hides it.
    template <class IsHidden>
    void settle(IsHidden is_hidden) {
        if (layer_ == 0) return;
        begin_layer(0);
        for (auto const& [target, wanted] : std::exchange(wanted_, {})) {
            if (is_hidden(wanted.layer - 1, target))
                throw error{error_code::unsupported, "flatten", wanted.names.front(),
                            "is a hard link to '" + printable(target) +
                                "', whose content is in none of these layers, and one of them hides it"};
            for (auto const& name : wanted.names) sources_.insert_or_assign(name, target);
        }
    }

    /// What the content of `path` in `layer` is to be called, its own name if that `stays`; nothing if nobody
    /// wants it.
    std::optional<std::string> name_for_content(std::size_t layer, std::string const& path, bool stays) {
        auto const sharers = sharers_.find({layer, path});
        if (sharers == sharers_.end()) return stays ? std::optional{path} : std::nullopt;
        auto const& names = sharers->second.names;
        auto const& name = stays ? path : names.front();
        for (auto const& other : names) sources_.insert_or_assign(other, name);
        return name;
    }

    /// What the link `path`, which stays, is to link to; `path` itself if it got the content. `target` is what
    /// its entry says.
    [[nodiscard]] std::string target_of(std::string const& path, std::string const& target) const {
        auto const source = sources_.find(path);
        return source == sources_.end() ? target : source->second;
    }

  private:
    /// Names in the result of one content; `layer` is the lowest that links to it.
    struct linked {
        std::vector<std::string> names{};
        std::size_t layer = 0;
    };

    /// The name that came with a content: in this layer or, though it may have got another file since, below it.
    struct origin {
        std::string name;
        bool is_here;
    };

    static void append(linked& to, linked const& lower) {
        to.names.insert(to.names.end(), lower.names.begin(), lower.names.end());
        to.layer = lower.layer;
    }

    std::size_t layer_ = 0;                              // that is surveyed; 0: none
    std::unordered_set<std::string> contents_;           // of that layer
    std::map<std::string, origin> links_;                // of that layer
    std::map<std::string, linked> wanted_, wanted_here_; // not met yet; what that layer wants of lower ones
    std::map<std::pair<std::size_t, std::string>, linked> sharers_; // content -> links to it that stay
    std::map<std::string, std::string> sources_;                    // name -> the one that has the content
};

} // namespace shiplap::detail

// === shiplap/sink/flatten.hpp ===

// flatten: which entries of stacked layers are left when all are applied (image-spec, layer.md,
// "Changesets").
//
//     layer_flattener layers{flattened::changes};
//     ... layers.survey(i, entry);                  // every entry of every layer, topmost layer first
//     ... layers.decide(i, entry, write_entry);     // the same again, bottom layer first
//
// survey() learns what each layer hides in those below. decide() then says for each entry whether it is still
// there, and under which name its content is kept.
//
//   hidden in layer k       by a layer above k that
//   the path itself         has an entry or a whiteout of that path
//   all below the path      has a whiteout of it, marks it opaque, or has something there that is no
//   directory
//
// A directory in several layers is written where it first occurs, with the facts of the topmost, so that
// parents precede children. Names that share a file go on doing so; if the one that came with the content is
// hidden, the content comes with another one.
//
// With flattened::changes the result is a layer for what lies below the layers, and does to that what they
// did together:
//
//   at P in the result      if a layer hid what is at or below P, it says
//   nothing                 .wh.P
//   a directory             P/, then P/.wh..wh..opq: overlay file systems cannot have .wh.P beside P/
//   anything else           nothing, for the entry hides it
//
// and nothing of that below a directory that is hidden itself.
//
// Names are taken as they are written: no symbolic link is followed, so layers must not reach the same file by
// two paths. A directory that has no entry is there as long as something in it is.

namespace shiplap {

/// What flattened layers become.
enum class flattened {
    tree,    ///< all that there is: nothing lies below them
    changes, ///< one layer for what lies below them
};

class layer_flattener {
  public:
    explicit layer_flattener(flattened into = flattened::tree) noexcept : into_{into} {}

    /// Learns one entry of `layer` (0 is the bottom). Call for all entries of all layers, topmost layer
    /// first.
    void survey(std::size_t layer, tar_entry const& entry) {
        names_.begin_layer(++layer); // counted from 1 inside
        auto const path = key_of(entry.name);
        auto const meaning = classify_whiteout(path);
        if (meaning.kind == whiteout_kind::ignored) return;
        if (meaning.kind == whiteout_kind::opaque) return note(emptied_, meaning.path, layer);
        if (meaning.kind == whiteout_kind::removal) {
            note(removed_, meaning.path, layer);
            return note(emptied_, meaning.path, layer);
        }
        bool const stays = !is_hidden(layer, path);
        if (stays && into_ == flattened::changes) note_folders_above(path);
        note_repetition(layer, path, entry);
        if (entry.type == entry_type::directory) {
            auto const found = directories_.try_emplace(path, layer, entry).first;
            if (found->second.first == layer) found->second.second = entry; // the last of several
            return;
        }
        if (entry.type == entry_type::hard_link)
            names_.add_link(path, key_of(entry.link_name), stays);
        else
            names_.add_content(path);
        note(files_, path, layer);
        note(emptied_, path, layer);
    }

    /// Hands to `write(entry)` what is to be written for `entry`. At most one of that has a payload: its own.
    /// Call for all entries of all layers, bottom layer first. Throws error{unsupported} for a hard link to
    /// content that none of the layers has and one of them hides.
    ///
    /// Without a survey, which a single layer does not need, all that is no whiteout is written as it is.
    template <class Write>
    void decide(std::size_t layer, tar_entry entry, Write write) {
        ++layer;
        settle_links();
        auto const path = key_of(entry.name);
        if (comes_again(layer, path)) return;
        auto const meaning = classify_whiteout(path);
        if (meaning.kind != whiteout_kind::none) {
            if (meaning.kind != whiteout_kind::ignored && into_ == flattened::changes)
                decide_whiteout(meaning.path, write);
        } else if (entry.type == entry_type::directory) {
            if (!is_replaced(layer, path) && !is_below_emptied(layer, path))
                write_directory(path, std::move(entry), write);
        } else if (entry.type == entry_type::hard_link) {
            if (is_hidden(layer, path)) return;
            entry.link_name = names_.target_of(path, key_of(entry.link_name));
            if (entry.link_name == path) return; // written with the content
            entry.name = path;
            write(entry);
        } else {
            decide_content(layer, path, std::move(entry), write);
        }
    }

  private:
    using topmost = std::unordered_map<std::string, std::size_t>;

    // "./a/b/" and "a/b" are one path; one that leaves the root is refused.
    static std::string key_of(std::string_view name) {
        std::string path;
        for (std::size_t start = 0; start <= name.size();) {
            auto const end = std::min(name.find('/', start), name.size());
            auto const part = name.substr(start, end - start);
            if (part == "..")
                throw error{error_code::unsafe_entry, "flatten", std::string{name},
                            "leaves the root directory"};
            if (!part.empty() && part != ".") path.append(path.empty() ? "" : "/").append(part);
            start = end + 1;
        }
        return path;
    }

    /// Whether `test` holds for a directory above `path`, "" among them.
    template <class Test>
    static bool any_above(std::string const& path, Test test) {
        if (path.empty()) return false;
        if (test(std::string{})) return true;
        for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1))
            if (test(path.substr(0, slash))) return true;
        return false;
    }

    // --- what is hidden

    static void note(topmost& layers, std::string const& path, std::size_t layer) {
        layers.try_emplace(path, layer); // the topmost layer came first
    }
    static bool reaches(topmost const& layers, std::string const& path, std::size_t layer) {
        auto const found = layers.find(path);
        return found != layers.end() && found->second > layer;
    }

    [[nodiscard]] bool is_replaced(std::size_t layer, std::string const& path) const {
        return reaches(files_, path, layer) || reaches(removed_, path, layer);
    }
    [[nodiscard]] bool is_below_emptied(std::size_t layer, std::string const& path) const {
        return any_above(path, [&](std::string const& folder) { return reaches(emptied_, folder, layer); });
    }
    [[nodiscard]] bool is_hidden(std::size_t layer, std::string const& path) const {
        auto const folder = directories_.find(path);
        return is_replaced(layer, path) || is_below_emptied(layer, path) ||
               (folder != directories_.end() && folder->second.first > layer);
    }

    // --- paths that an archive has twice, as tar -r makes them: the last one counts

    void note_repetition(std::size_t layer, std::string const& path, tar_entry const& entry) {
        if (std::exchange(surveyed_, layer) != layer) {
            here_.clear();
            linked_.clear();
        }
        auto const is_file = entry.type != entry_type::directory && entry.type != entry_type::hard_link;
        if (auto const [known, is_new] = here_.try_emplace(path, entry.type); !is_new) {
            bool const was_directory = known->second == entry_type::directory;
            if (entry.type == entry_type::directory && was_directory) return;
            if (!is_file || was_directory || known->second == entry_type::hard_link || linked_.contains(path))
                throw error{error_code::unsupported, "flatten", entry.name,
                            "is there twice in one layer, as different things or with a hard link to the "
                            "first; extract the layer and pack the tree instead"};
            ++repeated_[{layer, path}];
            known->second = entry.type;
        }
        if (entry.type == entry_type::hard_link) linked_.insert(key_of(entry.link_name));
    }

    bool comes_again(std::size_t layer, std::string const& path) {
        auto const found = repeated_.find({layer, path});
        if (found == repeated_.end() || found->second == 0) return false;
        --found->second;
        return true;
    }

    // --- names that share a file

    void settle_links() {
        names_.settle([this](std::size_t layer, std::string const& path) { return is_hidden(layer, path); });
    }

    template <class Write>
    void decide_content(std::size_t layer, std::string const& path, tar_entry entry, Write& write) {
        auto const name = names_.name_for_content(layer, path, !is_hidden(layer, path));
        if (!name) return;
        entry.name = *name;
        if (*name != path) write_folders_above(*name, write);
        write(entry);
    }

    // --- directories, and what of them is gone

    void note_folders_above(std::string const& path) {
        for (auto slash = path.rfind('/'); slash != std::string::npos; slash = path.rfind('/', slash - 1))
            if (!folders_.insert(path.substr(0, slash)).second) return; // and so are those above it
    }

    /// An entry in the place of several, and what it says of the directory's content below the layers.
    template <class Write>
    void write_directory(std::string const& path, tar_entry entry, Write& write) {
        if (!written_.insert(path).second && surveyed_ != 0) return;
        if (auto const found = directories_.find(path); found != directories_.end())
            entry = found->second.second;
        entry.name = path.empty() ? "./" : path + "/";
        write(entry);
        if (into_ == flattened::changes && emptied_.contains(path) && !is_covered(path))
            write(opaque_entry(path));
    }

    /// Writes what has an entry in the result, though that comes later.
    template <class Write>
    void write_folders_above(std::string const& path, Write& write) {
        any_above(path, [&](std::string const& folder) {
            if (auto const found = directories_.find(folder); found != directories_.end() && stays(*found))
                write_directory(folder, found->second.second, write);
            else if (into_ == flattened::changes && emptied_.contains(folder))
                decide_whiteout(folder, write);
            return false;
        });
    }

    template <class Directory>
    [[nodiscard]] bool stays(Directory const& found) const {
        auto const& [path, topmost_entry] = found;
        return !is_replaced(topmost_entry.first, path) && !is_below_emptied(topmost_entry.first, path);
    }

    /// Whether all below `path` that lies below the layers is hidden by what is said further up.
    [[nodiscard]] bool is_covered(std::string const& path) const {
        return any_above(path, [&](std::string const& folder) { return emptied_.contains(folder); });
    }

    template <class Write>
    void decide_whiteout(std::string const& path, Write& write) {
        if (written_.contains(path) || is_covered(path)) return;
        if (auto const found = directories_.find(path); found != directories_.end() && stays(*found)) {
            write_folders_above(path, write);
            return write_directory(path, found->second.second, write);
        }
        auto const file = files_.find(path);
        if (file != files_.end() && !is_hidden(file->second, path)) return;
        written_.insert(path);
        bool const is_gone = file != files_.end() || removed_.contains(path);
        bool const is_folder = folders_.contains(path);
        if (is_gone && !is_folder) return write(whiteout_entry(path));
        // Without an entry, a directory is made as who extracts layers makes it.
        if (is_gone) write(tar_entry{.name = path + "/", .type = entry_type::directory, .mode = 0755});
        write(opaque_entry(path));
    }

    static tar_entry opaque_entry(std::string const& folder) {
        return {.name = (folder.empty() ? "" : folder + "/") + std::string{opaque_marker}};
    }

    flattened into_;
    topmost removed_, files_; // paths that have a whiteout, or anything but a directory
    topmost emptied_;         // directories of which nothing that lies below is left
    std::unordered_map<std::string, std::pair<std::size_t, tar_entry>> directories_; // topmost
    std::unordered_set<std::string>
        folders_; // what must be a directory in the result, for something is in it

    std::size_t surveyed_ = 0;                         // the layer that is surveyed; 0: none was
    std::unordered_map<std::string, entry_type> here_; // what that layer has
    std::unordered_set<std::string> linked_;           // and what it has hard links to
    std::map<std::pair<std::size_t, std::string>, std::size_t> repeated_; // entries before the last of a path

    detail::shared_names names_;
    std::unordered_set<std::string> written_; // directories, and what whiteouts are about
};

} // namespace shiplap

// === shiplap/sink/rootfs_tar.hpp ===

// rootfs_tar_sink: all layers of an image applied on top of each other, as one tar: what a container sees at
// its start. Nothing is extracted on the way, so ownership, devices and set-id bits survive without
// privileges.
//
// The layers are read twice, topmost first to learn what each hides, then bottom first to write what is left
// (flatten.hpp says how). An image with a single layer is read once.

namespace shiplap {

class rootfs_tar_sink {
  public:
    /// See archive_output. `wanted` chooses an image of an index; by default there must be only one.
    explicit rootfs_tar_sink(std::string path, std::optional<platform> wanted = {})
        : output_{std::make_unique<archive_output>(std::move(path))}, wanted_{std::move(wanted)} {}

    [[nodiscard]] std::vector<descriptor> arrange(image_graph const& graph) {
        auto const image = select_platform(graph, wanted_).manifest;
        auto const& layers = image.layers;
        tar_.emplace(*output_);
        flattener_ = layer_flattener{};
        layers_ = layers.size();
        surveyed_ = written_ = 0;
        diff_ids_.reset();
        std::vector<descriptor> order{image.config};
        if (layers_ > 1)
            order.insert(order.end(), layers.rbegin(), layers.rend());
        else
            surveyed_ = layers_;
        order.insert(order.end(), layers.begin(), layers.end());
        return order;
    }

    [[nodiscard]] bool exists(descriptor const&) const noexcept { return false; }

    /// Takes the next content in the order of arrange(). Throws digest_mismatch for a layer that does not unpack to
    /// what the configuration says.
    void put(descriptor const& what, replayable_source_ref from) {
        if (!diff_ids_) {
            diff_ids_ = detail::read_diff_ids(what, from, layers_);
            return;
        }
        bool const is_survey = surveyed_ < layers_;
        auto const index = is_survey ? layers_ - ++surveyed_ : written_++;
        auto const subject = "layer " + std::to_string(index + 1) + " (" + what.digest.text() + ")";
        detail::plain_layer plain{from, layer_encoding(what.media_type), diff_ids_->at(index), {}, subject};
        tar_reader entries{plain, what.digest.text()};
        if (is_survey) {
            while (auto const* entry = entries.next()) flattener_.survey(index, *entry);
            return plain.finish();
        }
        auto const write = [&](tar_entry const& kept) {
            if (kept.name == "./") return; // a root file system needs no entry for its root
            tar_->entry(kept);
            if (kept.size != 0) transfer(entries, *tar_);
        };
        while (auto const* entry = entries.next()) flattener_.decide(index, *entry, write);
        plain.finish();
    }

    void tag(descriptor const&, image_name const&) noexcept {} // files have no name

    void commit() {
        tar_->finish();
        output_->commit();
    }

    [[nodiscard]] std::string staging_folder() const { return output_->staging_folder(); }

  private:
    std::unique_ptr<archive_output> output_; // tar_ refers to it
    std::optional<platform> wanted_;
    std::optional<tar_writer<archive_output>> tar_;
    layer_flattener flattener_;
    std::optional<std::vector<digest>> diff_ids_; // none before the configuration has come
    std::size_t layers_ = 0, surveyed_ = 0, written_ = 0;
};

} // namespace shiplap

// === shiplap/image/chain_id.hpp ===

// chain_id: the name of what a stack of layers unpacks to, whatever they are packed with (image-spec, config.md,
// "Layer ChainID").

namespace shiplap {

/// The chain id of layers, bottom first. As in containerd a diff_id alone is its own chain id, and all others are
/// sha256, whatever the diff_ids are. No layers, for which the specification has none, have that of no bytes.
inline digest chain_id(std::span<digest const> diff_ids) {
    if (diff_ids.empty()) return digest::of<sha256>({});
    auto chain = diff_ids.front();
    for (auto const& layer : diff_ids.subspan(1))
        chain = digest::of<sha256>(as_bytes(chain.text() + " " + layer.text()));
    return chain;
}

} // namespace shiplap

// === shiplap/sink/unpacked.hpp ===

// unpacked: root file systems below an image store, ready to run, one for each stack of layers:
//
//     STORE/.shiplap-unpacked/<algorithm>/<hex of the chain id>/
//
// Images with the same layers share a tree, however these are packed, and a tree that is there is not made again. One
// that differs in its top layer only is unpacked from the bottom: to copy the tree of the layers below would cost as
// much. A tree appears whole or not at all. Who runs something in it should not write to it (a read-only root, or
// an overlay above it): the next user takes what is there for the image.
//
// While a tree is being made, a shared lock on the folder says so: what is half done then is no garbage.

namespace shiplap {

/// Where the layers of this chain are unpacked in the store at `path`, or would be.
inline std::string unpacked_path(std::string const& path, digest const& chain) {
    return path + "/.shiplap-unpacked/" + std::string{chain.algorithm()} + "/" + std::string{chain.encoded()};
}

inline bool is_unpacked(std::string const& path, digest const& chain) {
    auto const facts = detail::file_facts(unpacked_path(path, chain));
    return facts && S_ISDIR(facts->st_mode);
}

struct unpacked_image {
    std::string path;
    bool reused; ///< it was there
};

namespace detail {

/// The image of `root` for a platform with its configuration; nothing if there is none.
inline std::optional<selected_image> image_to_unpack(layout_store const& store, descriptor const& root,
                                                     platform const& wanted, image_config& config) {
    std::optional<selected_image> found;
    try {
        found = find_image(root, store, wanted);
    } catch (error const& failure) {
        if (failure.code() != error_code::not_found || failure.operation() != "select platform") throw;
        return std::nullopt;
    }
    config = read_config(read_blob(store, found->manifest.config), found->manifest.config.digest.text());
    if (!same_target(config.platform, wanted)) return std::nullopt; // a manifest without an index
    return found;
}

struct unpacking_env {
    progress_ref progress;
};

} // namespace detail

/// Unpacks the image of `root` for a platform below its store, unless that was done before. Nothing is done if there is
/// no image for that platform. Throws as filesystem_sink does, and then there is no tree.
inline std::optional<unpacked_image> unpack_image(layout_store const& store, descriptor const& root,
                                                  platform const& wanted, progress_ref progress = {}) {
    image_config config;
    auto const image = detail::image_to_unpack(store, root, wanted, config);
    if (!image) return std::nullopt;
    auto const chain = chain_id(config.diff_ids);
    unpacked_image out{unpacked_path(store.path(), chain), is_unpacked(store.path(), chain)};
    if (out.reused) return out;

    auto const folder = detail::parent_of(out.path);
    detail::created_paths made;
    detail::make_folders(folder, made);
    made.keep();
    auto const in_use = detail::open_file(folder, O_RDONLY | O_DIRECTORY);
    if (detail::retry_interrupted([&] { return ::flock(in_use.get(), LOCK_SH); }) != 0)
        throw system_error{"lock", folder, errno};
    try {
        filesystem_sink tree{out.path, {.extraction = {.progress = progress}}};
        detail::unpacking_env env{progress};
        copy(image->root, {}, store, tree, env);
    } catch (error const&) {
        // Another process may have been faster.
        if (!is_unpacked(store.path(), chain)) throw;
        out.reused = true;
    }
    return out;
}

} // namespace shiplap

// === shiplap/store/erased.hpp ===

// The seam between packing and storing at run time: any blob_store behind one type, so that the packing loop
// is not instantiated once for each kind of store. One indirect call per chunk.

namespace shiplap {

/// A reference to any blob_store; itself a blob_store.
class blob_store_ref {
    struct writer_base {
        virtual ~writer_base() = default;
        virtual void write(bytes_view in) = 0;
        virtual void commit(content_facts const& facts) = 0;
    };
    template <class W>
    struct writer_model final : writer_base {
        explicit writer_model(W from) : writer{std::move(from)} {}
        void write(bytes_view in) override { writer.write(in); }
        void commit(content_facts const& facts) override { writer.commit(facts); }
        W writer;
    };

  public:
    class any_writer {
      public:
        explicit any_writer(std::unique_ptr<writer_base> self) noexcept : self_{std::move(self)} {}
        void write(bytes_view in) { self_->write(in); }
        void commit(content_facts const& facts) { self_->commit(facts); }

      private:
        std::unique_ptr<writer_base> self_;
    };

    template <blob_store S>
        requires(!std::same_as<std::remove_cv_t<S>, blob_store_ref>)
    blob_store_ref(S& store)
    noexcept // NOLINT(google-explicit-constructor): a reference, as S& would be
        : object_{&store},
          open_{[](void* object) {
              return any_writer{
                  std::make_unique<writer_model<blob_writer_of<S>>>(static_cast<S*>(object)->open())};
          }},
          contains_{[](void const* object, digest const& which) {
              return static_cast<S const*>(object)->contains(which);
          }},
          reader_{[](void const* object, digest const& which) {
              return any_replayable_source{static_cast<S const*>(object)->reader(which)};
          }} {}

    [[nodiscard]] any_writer open() { return open_(object_); }
    [[nodiscard]] bool contains(digest const& which) const { return contains_(object_, which); }
    [[nodiscard]] any_replayable_source reader(digest const& which) const { return reader_(object_, which); }

  private:
    void* object_;
    any_writer (*open_)(void*);
    bool (*contains_)(void const*, digest const&);
    any_replayable_source (*reader_)(void const*, digest const&);
};

} // namespace shiplap

// === shiplap/export/dispatch.hpp ===

// The run-time face: export_image(spec, result) does what exporter<...> does, with policies chosen by a spec.
//
// Axes are visited one by one, not all together: codec and digest where a layer is packed, the sink where the
// image is delivered. In between run the same pack, assemble and copy as in the compile-time face; a test
// compares both.

namespace shiplap {

/// Folder of the local image store: $SHIPLAP_STORE, else $XDG_DATA_HOME/shiplap, else ~/.local/share/shiplap.
inline std::string default_store() {
    auto const variable = [](char const* name) {
        auto const* const value =
            std::getenv(name); // NOLINT(concurrency-mt-unsafe): nothing here sets variables
        return std::string{value == nullptr ? "" : value};
    };
    if (auto store = variable("SHIPLAP_STORE"); !store.empty()) return store;
    if (auto const data = variable("XDG_DATA_HOME"); !data.empty()) return data + "/shiplap";
    if (auto const home = variable("HOME"); !home.empty()) return home + "/.local/share/shiplap";
    throw option_error{"--store", "is needed: neither SHIPLAP_STORE, XDG_DATA_HOME nor HOME is set"};
}

namespace detail {

inline export_options options_from(export_spec const& spec) {
    export_options options{.annotations = spec.annotations,
                           .descriptor_annotations = spec.descriptor_annotations,
                           .for_platforms = spec.for_platforms,
                           .index_annotations = spec.index_annotations,
                           .index_descriptor_annotations = spec.index_descriptor_annotations,
                           .epoch = spec.epoch,
                           .force_compression = spec.force_compression,
                           .prefer_nondistributable = spec.prefer_nondistributable,
                           .annotate_created =
                               spec.type == output_type::oci || spec.type == output_type::docker,
                           .unnamed_as = spec.tar ? "" : "latest",
                           .by_digest = spec.push_by_digest,
                           .dangling_prefix = spec.dangling_prefix,
                           .canonical_names = spec.canonical_names,
                           .attestations_as = spec.attestations_as,
                           .attestations_inline = spec.attestations_inline};
    for (auto const& name : spec.names) options.names.push_back(name.text());
    return options;
}

/// Attestations and annotations need OCI's media types and get them, unless Docker's were asked for.
inline media_type_table const& types_for(export_spec const& spec, export_input const& input) {
    bool oci = spec.oci_types;
    for (auto const& result : input.results) {
        bool const annotated =
            result.kept && !(result.kept->annotations.empty() && result.kept->descriptor_annotations.empty());
        oci |= (!result.attestations.empty() || annotated) && !spec.docker_types_asked;
    }
    return oci ? table_of<oci_media_types> : table_of<docker_media_types>;
}

inline bool has_files_only(output_type type) noexcept {
    return type == output_type::local || type == output_type::tar;
}

inline export_plan plan_of(export_spec const& spec, export_input const& input) {
    if (input.is_list && spec.type == output_type::docker)
        throw option_error{"type", "docker exporter does not currently support exporting manifest lists; use "
                                   "type=oci, or export each platform on its own"};
    if (input.is_list && has_files_only(spec.type))
        throw option_error{"type",
                           "the files of several platforms would be mixed; export each platform on its own"};
    return plan_export(input, options_from(spec), types_for(spec, input));
}

/// Packs, assembles and delivers into one sink; visits the codec and the digest.
template <image_sink Sink, class Follow>
exported_image export_spec_into(Sink& sink, Follow follow, export_spec const& spec, export_input const& input,
                                env_ref env) {
    return std::visit(
        [&]<class D>(D) {
            auto const pack_layers = [&](build_result const& result, blob_store auto& store, auto& shared,
                                         auto& take) {
                blob_store_ref erased{store};
                std::function<void(ready_layer)> const taken{std::ref(take)};
                std::visit(
                    [&](auto const& how) {
                        pack_all<D>(result, how, erased, spec.force_compression, env, shared, taken);
                    },
                    spec.codec);
            };
            return export_into<D>(sink, pack_layers, follow, input, options_from(spec),
                                  types_for(spec, input), env);
        },
        spec.digest);
}

/// Where an image goes that nobody wants to keep: what counts is that it can be made, and its digest.
struct nowhere {
    static bool exists(descriptor const&) noexcept { return true; }
    static void put(descriptor const&, replayable_source_ref) noexcept {}
    static void tag(descriptor const&, image_name const&) noexcept {}
    static void commit() noexcept {}
};

inline push_target push_target_of(export_spec const& spec) {
    push_target to{.insecure = spec.insecure};
    (spec.push_by_digest ? to.untagged : to.names) = spec.names;
    if (!spec.dangling_prefix.empty()) to.untagged.push_back(reference::parse(spec.dangling_prefix));
    return to;
}

/// Throws option_error unless images can be pushed with this kind of env, or need not be.
template <export_env Env>
void check_push(export_spec const& spec) {
    if constexpr (!lends_registries<Env>)
        if (spec.push)
            throw option_error{"push", "this program has no way to registries: it must lend one in its env, "
                                       "for instance the curl_registries of <shiplap/registry/curl.hpp>"};
}

inline std::string local_store_of(export_spec const& spec) {
    return spec.store.empty() ? default_store() : spec.store;
}

/// Whether an image ends up in the local store: if that is not said, unless a base would have to be downloaded for it.
inline bool is_kept(export_spec const& spec, export_input const& input) {
    bool needs_download = false;
    auto const look_at = [&](std::vector<any_layer_source> const& layers) {
        for (auto const& layer : layers)
            if (auto const stored = layer.stored()) needs_download |= stored->is_remote;
    };
    for (auto const& result : input.results) {
        look_at(result.layers);
        if (result.base) look_at(result.base->layers);
    }
    return spec.keep.value_or(!spec.push || !needs_download);
}

/// Into registries, and unless that is not wanted first into the local image store: a push that fails can then go on
/// from there. Layers are on their way while the next ones are packed.
template <remote_sink Sink>
exported_image push_image(Sink remote, export_spec const& spec, export_input const& input, env_ref env) {
    if (!is_kept(spec, input)) return export_spec_into(remote, no_follower, spec, input, env);
    remote.connect();
    layout_sink local{local_store_of(spec)};
    background_copy under_way{local.store(), remote, env.progress};
    auto const follow = [&](descriptor const& layer) {
        if (!layer.urls.empty()) return; // it is not for registries
        // The reader outlasts the move to its place in the store. What has just been hashed is not hashed again: should
        // somebody change the file in the store meanwhile, the registry refuses what it gets.
        under_way.add(layer, local.store().reader(layer.digest));
    };
    auto image = export_spec_into(local, follow, spec, input, env);
    finish_copy(image.root, {}, local.store(), remote, env.progress, under_way);
    return image;
}

/// A warning if a compression is asked for and nothing will be packed, though not all layers are packed so.
inline std::vector<std::string> compression_warnings(export_spec const& spec, export_input const& input) {
    if (!spec.compression_asked || spec.force_compression || spec.rewrite_timestamps) return {};
    bool any_otherwise = false;
    auto const is_stored = [&](any_layer_source const& layer) {
        auto const stored = layer.stored();
        any_otherwise |= stored && !stored->only_named &&
                         std::visit([&]<codec C>(C const&) { return !is_packed_as<C>(*stored); }, spec.codec);
        return stored.has_value();
    };
    for (auto const& result : input.results) {
        if (!std::all_of(result.layers.begin(), result.layers.end(), is_stored)) return {};
        if (result.base) std::for_each(result.base->layers.begin(), result.base->layers.end(), is_stored);
    }
    if (!any_otherwise) return {};
    return {"compression=" + std::visit([](auto const& how) { return std::string{how.name}; }, spec.codec) +
            " has no effect on layers that are packed already; add force-compression=true"};
}

/// The results with what the spec says of all of them.
struct completed_input {
    std::vector<build_result> results;
    bool is_list;
    std::vector<std::string> warnings{};

    completed_input(export_spec const& spec, export_input const& given)
        : results{given.results.begin(), given.results.end()},
          is_list{given.is_list},
          warnings{compression_warnings(spec, given)} {
        bool dropped = false;
        for (auto& result : results) {
            if (spec.config) result.config = spec.config;
            if (has_files_only(spec.type)) {
                dropped |= !result.attestations.empty();
                result.attestations.clear();
            }
        }
        if (dropped)
            warnings.emplace_back(
                "attestations have no place among the files of an image: they are left out");
    }

    [[nodiscard]] export_input input() const { return {results, is_list}; }
};

template <export_env Env>
exported_image export_checked(export_spec const& spec, export_input const& input, Env& lent) {
    env_ref env{lent};
    clamp_timestamps const clamp{{.seconds = spec.epoch.value_or(0)}};
    if (spec.rewrite_timestamps) env.timestamps = timestamps_ref{clamp};

    auto const into = [&](image_sink auto sink) {
        return export_spec_into(sink, no_follower, spec, input, env);
    };
    auto const unpacked = [&](exported_image image) {
        if (spec.unpack)
            unpack_image(layout_store{local_store_of(spec)}, image.root, host_platform(), env.progress);
        return image;
    };
    switch (spec.type) {
    case output_type::image:
        check_push<Env>(spec);
        if constexpr (lends_registries<Env>)
            if (spec.push)
                return unpacked(push_image(lent.registries.sink(push_target_of(spec)), spec, input, env));
        if (!is_kept(spec, input)) return into(nowhere{});
        return unpacked(into(layout_sink{local_store_of(spec)}));
    case output_type::oci:
        if (!spec.tar) return into(layout_sink{spec.destination});
        return into(oci_archive_sink{spec.destination});
    case output_type::docker:
        if (!spec.tar) return into(layout_sink{spec.destination});
        return into(docker_archive_sink{spec.destination});
    case output_type::local:
        return into(filesystem_sink{spec.destination, {.extraction = {.progress = env.progress}}});
    case output_type::tar:
        return into(rootfs_tar_sink{spec.destination});
    }
    throw error{error_code::unsupported, "export", "", "unknown type of output"};
}

/// Throws error{unsupported} if files are asked for that are in a layer which is not here.
inline void check_layers_are_here(export_spec const& spec, export_input const& input) {
    bool const needs_files = has_files_only(spec.type) || (spec.unpack && !input.is_list);
    auto const check = [&](any_layer_source const& layer) {
        if (auto const stored = layer.stored(); needs_files && stored && stored->only_named)
            throw error{error_code::unsupported, "unpack", stored->blob.digest.text(),
                        "the layer is not here, only named by URLs, from which nothing is fetched"};
    };
    for (auto const& result : input.results) {
        if (result.base) std::for_each(result.base->layers.begin(), result.base->layers.end(), check);
        std::for_each(result.layers.begin(), result.layers.end(), check);
    }
}

template <export_env Env>
exported_image export_as(export_spec const& asked, export_input const& given, Env& env) {
    auto const spec = asked.named_after(given);
    completed_input all{spec, given};
    bool const is_index = plan_of(spec, all.input()).as_index; // throws before anything is opened
    check_layers_are_here(spec, all.input());
    if (is_index && spec.type == output_type::docker && spec.tar)
        all.warnings.emplace_back(
            "an archive with attestations has no manifest.json: only a Docker that keeps "
            "its images in containerd can load it");
    auto image = export_checked(spec, all.input(), env);
    image.warnings.insert(image.warnings.begin(), all.warnings.begin(), all.warnings.end());
    return image;
}

} // namespace detail

/// Throws the option_error that export_image() would throw, without reading any layer.
inline void check_export(export_spec const& spec, export_input const& what) {
    static_cast<void>(detail::plan_of(spec.named_after(what), detail::completed_input{spec, what}.input()));
}

/// Exports `result` as `spec` says; `env` lends executor, progress, timestamps and, to push, registries. Throws a
/// shiplap::error, and then nothing has become visible, but for an image in the local store that could not be pushed
/// from there. (A template, so that who does not call it does not compile every sink
/// and codec.)
template <export_env Env>
exported_image export_image(export_spec const& spec, build_result const& result, Env& env) {
    return detail::export_as(spec, result, env);
}
/// The same for several platforms, under an index.
template <export_env Env>
exported_image export_image(export_spec const& spec, export_input const& platforms, Env& env) {
    return detail::export_as(spec, platforms, env);
}

/// Each with an env that nobody else sees.
template <export_env Env = default_env>
exported_image export_image(export_spec const& spec, build_result const& result) {
    Env env;
    return detail::export_as(spec, result, env);
}
template <export_env Env = default_env>
exported_image export_image(export_spec const& spec, export_input const& platforms) {
    Env env;
    return detail::export_as(spec, platforms, env);
}

} // namespace shiplap

// === shiplap/image/attestation_file.hpp ===

// attestation_file: attestations as they lie on disk:
//
//     read_attestations("sbom.spdx.json", spdx_predicate)     a predicate, of the type that is given
//     read_attestations("statement.json")                     a complete in-toto statement
//     read_attestations("statements/")                        a bundle: a directory of statements

namespace shiplap {

namespace detail {

inline std::string read_attestation_file(std::string const& path) {
    std::error_code problem;
    auto const status = std::filesystem::status(path, problem);
    if (status.type() == std::filesystem::file_type::not_found)
        throw error{error_code::not_found, "read attestation", path, "no such file or directory"};
    if (problem) throw system_error{"read attestation", path, problem.value()};
    if (!std::filesystem::is_regular_file(status))
        throw error{error_code::unsupported, "read attestation", path, "is not a regular file"};
    if (auto const size = std::filesystem::file_size(path, problem); !problem && size > max_attestation_size)
        throw format_error{"read attestation", path,
                           "exceeds " + std::to_string(max_attestation_size) + " bytes"};
    return read_file(path, max_attestation_size);
}

inline bool is_statement_type(std::string_view type) noexcept {
    return type == "https://in-toto.io/Statement/v1" || type == "https://in-toto.io/Statement/v0.1";
}

inline void require_predicate_type(std::string_view found, std::string_view required,
                                   std::string_view subject) {
    if (!required.empty() && found != required)
        throw format_error{"read attestation", std::string{subject},
                           "the predicate type " + printable(found) +
                               " does not match required predicate type " + printable(required)};
}

inline attestation read_statement(json_node const& root, std::string_view text, std::string_view subject,
                                  std::string_view required) {
    attestation out{.predicate_type = root["predicateType"].text()};
    if (out.predicate_type.empty()) root["predicateType"].refuse("must not be empty");
    require_predicate_type(out.predicate_type, required, subject);
    auto const subjects = root["subject"];
    for (std::size_t i = 0; i < subjects.length(); ++i) {
        auto const one = subjects.item(i);
        auto const digests = one["digest"];
        attestation_subject about{.name = one.text_of("name")};
        for (auto const& [algorithm, hex] : digests.object()) {
            if (!hex.is_string()) digests.refuse("the value of \"" + algorithm + "\" must be a string");
            about.digests.emplace(algorithm, *hex.get_ptr<json::string_t const*>());
        }
        if (about.digests.empty()) digests.refuse("must not be empty");
        out.subjects.push_back(std::move(about));
    }
    if (auto const predicate = root["predicate"]) {
        static_cast<void>(predicate.object());
        out.predicate = split_members(text).at("predicate");
    }
    return out;
}

} // namespace detail

/// Reads a complete in-toto statement; its predicate must be of the type `required`, if one is. What the
/// statement is about stays as it is; if that is nothing, it will be the image. Throws format_error.
inline attestation parse_statement(std::string_view text, std::string_view subject,
                                   std::string_view required = {}) {
    auto const document = parse_json(text, subject, {max_attestation_size, true});
    json_node const root{document, subject};
    if (!detail::is_statement_type(root["_type"].text()))
        root["_type"].refuse("must be https://in-toto.io/Statement/v1");
    return detail::read_statement(root, text, subject, required);
}

/// Reads what `path` holds, in one of the forms above: a predicate needs `type`; statements must have that
/// type, if one is given. Throws format_error, option_error if the type is missing, error{not_found}.
inline std::vector<attestation> read_attestations(std::string const& path, std::string_view type = {}) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) {
        std::vector<std::string> files;
        for (auto const& entry : std::filesystem::directory_iterator{path})
            files.push_back(entry.path().string());
        if (files.empty())
            throw error{error_code::not_found, "read attestation", path, "the bundle is empty"};
        std::sort(files.begin(), files.end()); // readdir() has no order
        std::vector<attestation> out;
        out.reserve(files.size());
        for (auto const& file : files)
            out.push_back(parse_statement(detail::read_attestation_file(file), file, type));
        return out;
    }

    auto text = detail::read_attestation_file(path);
    if (!text.empty()) {
        auto const document = parse_json(text, path, {max_attestation_size, true});
        json_node const root{document, path};
        auto const kind = root["_type"];
        if (kind && kind.value().is_string() && detail::is_statement_type(kind.text()))
            return {detail::read_statement(root, text, path, type)};
    }
    if (type.empty())
        throw option_error{"attestation", "'" + printable(path) +
                                              "' is no in-toto statement, so the type of its predicate must "
                                              "be given: sbom, provenance or a URI"};
    return {{.predicate_type = std::string{type}, .predicate = std::move(text)}};
}

} // namespace shiplap

// === shiplap/export/existing.hpp ===

// existing: an image that exists, as the input of an export: to convert it, or to put it elsewhere.
//
//     auto result = as_result(read_base(images, images.resolve("debian:12"))); // for one platform
//     auto image = read_existing(images, images.resolve("app:1"));             // all of it
//     keep_index_annotations(options, image);
//     out(image.input(), options);
//
// The layers are the result's own: what an export says of codec and times goes for all of them. What nothing is
// said of stays: the configuration, to the byte as long as it fits the layers, annotations, platforms, the order
// of the index, attestations. Statements about an image that becomes another one are then about that one.
//
// An index may hold what is neither an image nor an attestation, such as a signature. That is left out with a
// warning, for what it says of the old bytes would not be true of the new ones.

namespace shiplap {

/// The image as a result of its own; `with` is what else is said of it, and its configuration goes before the
/// image's. `with.layers` and `with.base` must be empty: they would make it a base.
inline build_result as_result(base_image image, build_result with = {}) {
    with.layers = std::move(image.layers);
    if (!with.config) with.config = std::move(image.config);
    with.kept = kept_facts{.annotations = std::move(image.annotations)};
    return with;
}

/// What read_existing() returns.
struct existing_image {
    std::vector<build_result> results{}; ///< in the order of the index
    bool is_list = false;                ///< an index, and not only because of attestations
    annotation_map index_annotations{};
    annotation_map index_descriptor_annotations{};
    std::vector<std::string> warnings{}; ///< what was left out

    [[nodiscard]] export_input input() const { return {results, is_list}; }
};

namespace detail {

/// Reads the statements that an attestation manifest holds. Those about `image` will be about what becomes of it.
template <blob_reader_source S>
void read_statements(S const& from, image_manifest const& manifest, digest const& image,
                     std::vector<attestation>& attestations, std::vector<std::string>& warnings) {
    auto const is_image = [&](attestation_subject const& subject) {
        auto const found = subject.digests.find(std::string{image.algorithm()});
        return found != subject.digests.end() && found->second == image.encoded();
    };
    for (auto const& layer : manifest.layers) {
        if (layer.media_type != in_toto_media_type) {
            warnings.push_back("attestation " + layer.digest.text() + " of type " +
                               printable(layer.media_type) + " is no in-toto statement: it is left out");
            continue;
        }
        auto one = parse_statement(read_blob(from, layer, max_attestation_size), layer.digest.text());
        auto& subjects = one.subjects;
        if (std::all_of(subjects.begin(), subjects.end(), is_image))
            subjects.clear(); // the names of the export will do
        else
            for (auto& subject : subjects)
                if (is_image(subject)) subject.digests.clear();
        attestations.push_back(std::move(one));
    }
}

/// Makes results of what a graph holds.
template <class Store>
class existing_reader {
  public:
    existing_reader(Store const& store, descriptor const& root)
        : store_{store}, graph_{read_graph(root, pointee(store))} {
        for (auto const& node : graph_.contents) there_.insert(node.what.digest);
    }

    existing_image read() && {
        auto const index = graph_.indexes.find(graph_.root.digest);
        if (index == graph_.indexes.end()) {
            if (!is_runnable(graph_.manifests.at(graph_.root.digest)))
                refuse("this is no image that can be run");
            out_.results.push_back(result_of(named_by_itself(graph_.root)));
            return std::move(out_);
        }
        auto const& entries = index->second.manifests;
        for (auto const& entry : entries) read_entry(entry);
        for (auto const& entry : entries)
            if (is_attestation(entry)) read_attestation(entry);
        if (out_.results.empty()) refuse("this index holds no image that can be run");
        out_.is_list = out_.results.size() > 1 || out_.results.front().attestations.empty();
        out_.index_annotations = index->second.annotations;
        out_.index_descriptor_annotations = named_by_itself(graph_.root).annotations;
        return std::move(out_);
    }

  private:
    [[noreturn]] void refuse(std::string reason) const {
        throw error{error_code::not_found, "read image", graph_.root.digest.text(), std::move(reason)};
    }

    // What an index.json says of the image, but for its names and when it was put there.
    static descriptor named_by_itself(descriptor root) {
        std::erase_if(root.annotations, [](auto const& one) {
            return one.first == "org.opencontainers.image.ref.name" ||
                   one.first == "io.containerd.image.name" ||
                   one.first == "org.opencontainers.image.created" ||
                   one.first.starts_with("containerd.io/distribution.source.");
        });
        root.platform.reset();
        return root;
    }

    static bool is_attestation(descriptor const& entry) {
        auto const type = entry.annotations.find(std::string{reference_type_annotation});
        return type != entry.annotations.end() && type->second == "attestation-manifest";
    }

    void leave_out(descriptor const& entry, std::string const& what) {
        out_.warnings.push_back(entry.digest.text() + " in the index is " + what + ": it is left out");
    }

    void read_entry(descriptor const& entry) {
        if (is_index_type(entry.media_type))
            throw error{error_code::unsupported, "read image", entry.digest.text(),
                        "is an index inside the index " + graph_.root.digest.text() +
                            "; convert each of them apart"};
        if (is_attestation(entry)) return;
        auto const manifest = graph_.manifests.find(entry.digest);
        if (manifest == graph_.manifests.end())
            return leave_out(entry, "of the media type " + printable(entry.media_type) + " and no image");
        if (!is_runnable(manifest->second) ||
            entry.annotations.contains(std::string{reference_type_annotation}))
            return leave_out(entry, "no image that can be run");
        try {
            out_.results.push_back(result_of(entry));
        } catch (error& failure) {
            if (entry.platform) failure.within("platform " + format(*entry.platform));
            throw;
        }
        places_.emplace(entry.digest.text(), out_.results.size() - 1);
    }

    void read_attestation(descriptor const& entry) {
        auto const about = entry.annotations.find(std::string{reference_digest_annotation});
        auto const place = about == entry.annotations.end() ? places_.end() : places_.find(about->second);
        auto const manifest = graph_.manifests.find(entry.digest);
        if (place == places_.end() || manifest == graph_.manifests.end())
            return leave_out(entry, "an attestation of no image in it");
        auto& result = out_.results[place->second];
        read_statements(pointee(store_), manifest->second, digest::parse(place->first), result.attestations,
                        out_.warnings);
    }

    build_result result_of(descriptor const& entry) {
        auto known = read_.find(entry.digest); // under two platforms: its layers are packed once
        if (known == read_.end()) {
            auto image = read_found_image(store_, {entry, graph_.manifests.at(entry.digest)}, std::nullopt,
                                          [&](digest const& layer) { return there_.contains(layer); });
            known = read_.emplace(entry.digest, as_result(std::move(image))).first;
        }
        auto out = known->second;
        out.kept->descriptor_annotations = entry.annotations;
        out.kept->platform = entry.platform;
        return out;
    }

    Store const& store_;
    image_graph graph_;
    existing_image out_;
    std::set<digest> there_; // what the store has: it is not asked again
    std::map<digest, build_result> read_;
    std::map<std::string, std::size_t> places_; // of images in the results, by digest
};

} // namespace detail

/// Reads all of the image `root`: a manifest, or an index of images and attestations. `store` must outlive the
/// results. Throws as read_graph() and read_base() do; error{unsupported} for an index that holds indexes,
/// error{not_found} for one without an image.
template <blob_reader_source S>
existing_image read_existing(S const& store, descriptor const& root) {
    return detail::existing_reader<S>{store, root}.read();
}

template <blob_reader_source S>
existing_image read_existing(S const&& store, descriptor const& root) = delete; // its layers would dangle

/// The same; the layers share `store`.
template <blob_reader_source S>
existing_image read_existing(std::shared_ptr<S> store, descriptor const& root) {
    std::shared_ptr<S const> const shared{std::move(store)};
    return detail::existing_reader<std::shared_ptr<S const>>{shared, root}.read();
}

/// Lets the index have the annotations that it had, where `options` say nothing else.
inline void keep_index_annotations(export_options& options, existing_image const& image) {
    options.index_annotations.insert(image.index_annotations.begin(), image.index_annotations.end());
    options.index_descriptor_annotations.insert(image.index_descriptor_annotations.begin(),
                                                image.index_descriptor_annotations.end());
}

/// The same for a spec. Annotations need OCI's media types, so it takes these; if Docker's were asked for, a
/// warning says that the annotations are left out. Mere files have none.
inline void keep_index_annotations(export_spec& spec, existing_image const& image) {
    bool const is_files = spec.type == output_type::local || spec.type == output_type::tar;
    auto const& inside = image.index_annotations;
    auto const& outside = image.index_descriptor_annotations;
    if ((inside.empty() && outside.empty()) || is_files) return;
    if (spec.docker_types_asked) {
        spec.warnings.emplace_back(
            "Docker's media types have no place for the annotations of the index: they "
            "are left out");
        return;
    }
    spec.oci_types = true;
    spec.index_annotations.insert(inside.begin(), inside.end());
    spec.index_descriptor_annotations.insert(outside.begin(), outside.end());
}

} // namespace shiplap

// === shiplap/export/metadata.hpp ===

// metadata: what an export made, as the JSON object that build tools read from --metadata-file.
//
//   containerimage.digest           digest of the root: a manifest or an index
//   containerimage.config.digest    digest of the configuration, which Docker calls the image id; absent for an
//                                   index, below which there may be several
//   containerimage.descriptor       the root's descriptor
//   image.name                      comma-separated, normalised; absent without a name
//
// Several outputs of one run go into one object; a later one overwrites the keys of an earlier one.

namespace shiplap {

class metadata {
  public:
    void add(exported_image const& image) {
        set("containerimage.digest", detail::json_text(image.root.digest.text()));
        if (is_manifest_type(image.root.media_type))
            set("containerimage.config.digest", detail::json_text(image.config.digest.text()));
        set("containerimage.descriptor", to_json(image.root));
        std::string names;
        for (auto const& name : image.names) names += (names.empty() ? "" : ",") + name;
        if (!names.empty()) set("image.name", detail::json_text(names));
    }

    /// Indented JSON.
    [[nodiscard]] std::string text() const { return pretty(object_); }

  private:
    void set(std::string_view key, json value) { detail::member(object_, key) = std::move(value); }

    json object_ = detail::empty_object();
};

} // namespace shiplap

// === shiplap/export/rebase.hpp ===

// rebase: an image that was built upon one base, put upon another, as after an update of that base.
//
//     auto result = rebase(read_base(images, app), read_base(images, old_debian), read_base(images, new_debian));
//
//   part of the result    what it is
//   layers                those of the new base, untouched, and those that the image has above the old one
//   settings              what the image has otherwise than the old base stays; all else is the new base's
//   history               the new base's, and what the image has behind the old one's
//   created, annotations  the image's
//
// Settings are the members of the configuration and of its member "config". In Env, Labels, ExposedPorts and
// Volumes each name counts on its own. Whether the files of the image get along with those of the new base is not
// looked at.

namespace shiplap {

namespace detail {

/// One value in three documents; null where there is none.
struct merge_input {
    json const *image, *old_base, *new_base;
};

inline bool are_same(json const* a, json const* b) {
    return a == nullptr || b == nullptr ? a == b : *a == *b;
}

/// The member of an object, if there are both. Null is none, as Go has it.
inline json const* find_member(json const* object, std::string_view name) {
    if (object != nullptr && object->is_object())
        for (auto const& [key, value] : *object->get_ptr<json::object_t const*>())
            if (key == name) return value.is_null() ? nullptr : &value;
    return nullptr;
}

inline merge_input members_of(merge_input const& from, std::string_view name) {
    return {find_member(from.image, name), find_member(from.old_base, name),
            find_member(from.new_base, name)};
}

/// The names of all members, sorted.
inline std::set<std::string> names_in(merge_input const& from) {
    std::set<std::string> out;
    for (auto const* object : {from.image, from.old_base, from.new_base})
        if (object != nullptr && object->is_object())
            for (auto const& [key, value] : *object->get_ptr<json::object_t const*>()) out.insert(key);
    return out;
}

/// What the image changed stays, what it left as it was is the new base's.
inline json const* merged_whole(merge_input const& from) {
    return are_same(from.image, from.old_base) ? from.new_base : from.image;
}

using merge_parts = json (*)(merge_input const&);

/// The same, but where both the image and the base changed, `parts` decides.
inline json merged(merge_input const& from, merge_parts parts = nullptr) {
    bool const one_side = are_same(from.image, from.old_base) || are_same(from.old_base, from.new_base);
    if (!one_side && parts != nullptr) return parts(from);
    auto const* const whole = merged_whole(from);
    return whole == nullptr ? json(nullptr) : *whole;
}

/// Of objects each member on its own, in Go's order of a map.
inline json merged_map(merge_input const& from) {
    auto out = empty_object();
    for (auto const& name : names_in(from))
        if (auto const* const value = merged_whole(members_of(from, name))) add_member(out, name, *value);
    return out.empty() ? json(nullptr) : out;
}

/// Of "NAME=VALUE" each name on its own: in the new base's order, then those that only the image has.
inline json merged_env(merge_input const& from) {
    auto const by_name = [](json const* env) {
        std::vector<std::pair<std::string, json const*>> out;
        if (env != nullptr)
            for (auto const& pair : *env->get_ptr<json::array_t const*>()) {
                auto const& text = *pair.get_ptr<json::string_t const*>();
                out.emplace_back(text.substr(0, text.find('=')), &pair);
            }
        return out;
    };
    auto const image = by_name(from.image), old_base = by_name(from.old_base),
               new_base = by_name(from.new_base);
    auto const find = [](auto const& env, std::string const& name) -> json const* {
        for (auto const& [key, pair] : env)
            if (key == name) return pair;
        return nullptr;
    };
    auto out = empty_array();
    std::set<std::string> done;
    for (auto const* env : {&new_base, &image})
        for (auto const& [name, pair] : *env)
            if (done.insert(name).second)
                if (auto const* const value =
                        merged_whole({find(image, name), find(old_base, name), find(new_base, name)}))
                    add_item(out, *value);
    return out.empty() ? json(nullptr) : out;
}

/// The member "config".
inline json merged_run_config(merge_input const& from) {
    auto out = from.image == nullptr ? empty_object() : *from.image;
    for (auto const& name : names_in(from)) {
        auto const values = members_of(from, name);
        bool const is_map = name == "Labels" || name == "ExposedPorts" || name == "Volumes";
        auto const value = merged(values, name == "Env" ? &merged_env : is_map ? &merged_map : nullptr);
        auto const* const there = value.is_null() ? nullptr : &value;
        if (!are_same(there, values.image)) out = with_member(out, name, value);
    }
    return out;
}

/// The entries of `image` that are above the first `layers` layers.
inline json history_above(json const* image, json const* old_base, std::size_t layers) {
    static json const none = empty_array();
    auto const& all = image == nullptr ? none : *image;
    auto const& base = old_base == nullptr ? none : *old_base;
    auto const is_layer = [](json const& entry) {
        auto const* const empty = find_member(&entry, "empty_layer");
        return empty == nullptr || !*empty->get_ptr<json::boolean_t const*>();
    };
    auto from = all.begin();
    bool const goes_on = base.size() <= all.size() && std::equal(base.begin(), base.end(), all.begin());
    if (goes_on && static_cast<std::size_t>(std::count_if(base.begin(), base.end(), is_layer)) == layers)
        from += static_cast<std::ptrdiff_t>(base.size());
    else
        for (std::size_t seen = 0; from != all.end() && seen != layers; ++from)
            seen += is_layer(*from) ? 1 : 0;
    auto out = empty_array();
    for (; from != all.end(); ++from) add_item(out, *from);
    return out;
}

/// A history for all layers of a base: what it says, and an entry for each layer that it says nothing of.
inline std::vector<history_entry> whole_history(base_image const& base) {
    auto out = base.history;
    auto known = static_cast<std::size_t>(
        std::count_if(out.begin(), out.end(), [](auto const& entry) { return !entry.empty_layer; }));
    for (; known < base.layers.size(); ++known) {
        auto const facts = base.layers[known].stored();
        history_entry entry{.created_by = "layer of the base image"};
        if (facts && facts->created) entry.created = zoned_time{*facts->created, 0};
        out.push_back(std::move(entry));
    }
    return out;
}

/// Throws unless both are for one platform. `role` tells which base it is. (A version of the system may differ.)
inline void check_rebase_platform(image_config const& image, image_config const& base, char const* role) {
    auto const of_image = format(normalised(image.platform)), of_base = format(normalised(base.platform));
    if (of_image != of_base)
        throw error{error_code::unsupported, "rebase", of_image,
                    std::string{"is the platform of the image, that of the "} + role + " base is " + of_base};
}

inline void check_built_upon(image_config const& image, image_config const& base) {
    auto const& above = image.diff_ids;
    auto const& below = base.diff_ids;
    auto const [at, end] = std::mismatch(above.begin(), above.end(), below.begin(), below.end());
    if (end == below.end()) return;
    auto const agree = static_cast<std::size_t>(at - above.begin());
    throw error{error_code::unsupported, "rebase", "layer " + std::to_string(agree + 1),
                "the image is not built upon the old base: this layer of the image is " +
                    (at == above.end() ? "missing" : at->text()) + ", that of the base is " + end->text() +
                    "; " + std::to_string(agree) + " of the " + std::to_string(below.size()) +
                    " layers of the base agree"};
}

/// The configuration of the result, whose diff_ids are `diff_ids`.
inline std::string rebased_config(base_image const& image, base_image const& old_base,
                                  base_image const& new_base, std::vector<digest> const& diff_ids) {
    constexpr std::string_view subject = "image configuration";
    auto const above = parse_json(image.config, subject), below = parse_json(old_base.config, subject),
               under = parse_json(new_base.config, subject);
    merge_input const all{&above, &below, &under};
    auto members = split_members(image.config);
    bool changed = false;
    auto const set = [&](std::string const& name, json const& value) {
        auto const* const there = value.is_null() ? nullptr : &value;
        if (are_same(there, find_member(&above, name))) return; // as it is written
        changed = true;
        if (there == nullptr)
            members.erase(name);
        else
            members[name] = compact(value);
    };
    for (auto const& name : names_in(all))
        if (name != "created" && name != "rootfs" && name != "history")
            set(name, merged(members_of(all, name), name == "config" ? &merged_run_config : nullptr));

    if (auto const of = members_of(all, "history"); !are_same(of.old_base, of.new_base)) {
        auto const own = history_above(of.image, of.old_base, old_base.layers.size());
        auto whole = own.empty() && new_base.history.empty() ? empty_array()
                     : of.new_base != nullptr && whole_history(new_base) == new_base.history
                         ? *of.new_base
                         : to_json(whole_history(new_base));
        for (auto const& entry : own) add_item(whole, entry);
        set("history", whole.empty() ? json(nullptr) : whole);
    }
    auto const [a, b] = std::pair{find_member(&below, "rootfs"), find_member(&under, "rootfs")};
    if (!are_same(a, b)) set("rootfs", rootfs_json(diff_ids));
    return changed ? join_members(members) : image.config;
}

} // namespace detail

/// Puts `image`, whose lowest layers are those of `old_base`, upon `new_base`; all are for one platform. `with` is
/// what else is said of the result, as for as_result(). Throws error{unsupported} that names the first layer that
/// is not the old base's, or the platforms; format_error for a configuration that is none.
inline build_result rebase(base_image image, base_image const& old_base, base_image new_base,
                           build_result with = {}) {
    auto const above = read_config(image.config, "configuration of the image");
    auto const below = read_config(old_base.config, "configuration of the old base");
    auto const under = read_config(new_base.config, "configuration of the new base");
    detail::check_rebase_platform(above, below, "old");
    detail::check_rebase_platform(above, under, "new");
    detail::check_built_upon(above, below);

    auto const height = static_cast<std::ptrdiff_t>(below.diff_ids.size());
    auto diff_ids = under.diff_ids;
    diff_ids.insert(diff_ids.end(), above.diff_ids.begin() + height, above.diff_ids.end());
    image.config = detail::rebased_config(image, old_base, new_base, diff_ids);
    image.layers.erase(image.layers.begin(), image.layers.begin() + height);
    auto out = as_result(std::move(image), std::move(with));
    out.base = std::move(new_base);
    return out;
}

} // namespace shiplap

// === shiplap/export/several.hpp ===

// several: one build, exported in several ways in one run.
//
//     auto const images = export_images(specs, result, env);
//
// Every layer is read once, fetched once if it is in a registry, and packed once for each codec that one of the outputs
// wants; all of them then take it from there. (Outputs that differ in the digest algorithm or rewrite times to another epoch want other bytes: a pass
// for each of these.) Registries come last, and of several each gets the content before any gets a tag: no tag moves
// unless everything else has worked.

namespace shiplap {

namespace detail {

/// What the plain bytes of a layer and the digests of its blobs depend on, besides the layer.
struct packing_kind {
    std::size_t digest;                 ///< the alternative of builtin_digests
    std::optional<std::int64_t> latest; ///< times are rewritten to this limit
    explicit packing_kind(export_spec const& spec) : digest{spec.digest.index()} {
        if (spec.rewrite_timestamps) latest = spec.epoch;
    }
    friend bool operator==(packing_kind const&, packing_kind const&) = default;
};

/// The layers of a build for several outputs: each packed, or fetched, once.
class shared_packing {
  public:
    /// What is packed lies on the file system of `folder` until nobody refers to it.
    explicit shared_packing(std::string folder)
        : store_{std::make_shared<scratch_store>(std::move(folder))} {}

    /// Call once; `specs` stay where they are.
    void pack(std::span<export_spec const> specs, export_input const& input, env_ref env) {
        std::vector<packing_kind> done;
        for (auto const& first : specs) {
            packing_kind const kind{first};
            if (std::find(done.begin(), done.end(), kind) != done.end()) continue;
            done.push_back(kind);
            users alike;
            for (auto const& spec : specs)
                if (packing_kind{spec} == kind) alike.push_back(&spec);
            pack_for(alike, input, env);
        }
    }

    /// The results as `spec` takes them.
    [[nodiscard]] std::vector<build_result> results_for(export_spec const& spec,
                                                        export_input const& input) const {
        std::vector<build_result> results{input.results.begin(), input.results.end()};
        auto const replace = [&](any_layer_source& layer) {
            if (auto const* const found = find(layer, spec)) layer = *found;
        };
        for (auto& result : results) {
            if (result.base) std::for_each(result.base->layers.begin(), result.base->layers.end(), replace);
            std::for_each(result.layers.begin(), result.layers.end(), replace);
        }
        return results;
    }

  private:
    using users = std::vector<export_spec const*>;
    struct replacement {
        any_layer_source source;
        export_spec const* by;
        any_layer_source replaced;
    };

    // For outputs that want the same plain bytes.
    void pack_for(users const& specs, export_input const& input, env_ref env) {
        auto const& first = *specs.front();
        clamp_timestamps const clamp{{.seconds = first.epoch.value_or(0)}};
        keep_timestamps const keep; // a base was made when it was made
        if (first.rewrite_timestamps) env.timestamps = timestamps_ref{clamp};
        auto const take = [this](std::vector<replacement> made) {
            std::move(made.begin(), made.end(), std::back_inserter(replacements_));
        };
        std::vector<any_layer_source> begun;
        in_order<std::vector<replacement>> lanes{env, count_to_pack(specs, input)};
        for (auto const& result : input.results) {
            std::size_t number = 0;
            auto const start = [&](any_layer_source const& layer, timestamps_ref time) {
                ++number;
                auto const is_this = [&](auto const& other) { return other.is_same_as(layer); };
                if (std::any_of(begun.begin(), begun.end(), is_this)) return; // several platforms have it
                begun.push_back(layer);
                lanes.add(
                    [&, layer, time, number](env_ref lent) {
                        lent.timestamps = time;
                        return naming_layer(number, layer,
                                            [&] { return pack_layer(specs, layer, input, lent); });
                    },
                    take);
            };
            if (result.base)
                for (auto const& layer : result.base->layers) start(layer, timestamps_ref{keep});
            for (auto const& layer : result.layers) start(layer, env.timestamps);
        }
        lanes.finish(take);
    }

    static std::size_t count_to_pack(users const& specs, export_input const& input) {
        bool const force =
            std::any_of(specs.begin(), specs.end(), [](auto const* spec) { return spec->force_compression; });
        std::size_t count = 0;
        for (auto const& result : input.results) {
            count += detail::count_to_pack(result.layers, force || specs.front()->rewrite_timestamps);
            if (result.base) count += detail::count_to_pack(result.base->layers, force);
        }
        return count;
    }

    /// What takes the place of the layer. Called on several threads at once.
    [[nodiscard]] std::vector<replacement> pack_layer(users const& specs, any_layer_source const& layer,
                                                      export_input const& input, env_ref env) const {
        std::vector<replacement> out;
        auto const replace = [&](users const& by, layer_blob facts) {
            any_layer_source const here =
                blob_in_store(std::shared_ptr<scratch_store const>{store_}, std::move(facts));
            for (auto const* spec : by) out.push_back({layer, spec, here});
        };
        auto const stored = layer.stored();
        std::vector<builtin_codecs::variant> ways;
        std::vector<users> wanted; // by whom, for each of `ways`
        users readers;             // who take it as it is, to a disk
        for (auto const* spec : specs) {
            bool const is_to_pack = std::visit(
                [&]<codec C>(C const&) {
                    return needs_packing<C>(stored, spec->force_compression, env.timestamps);
                },
                spec->codec);
            if (!is_to_pack) {
                if (spec->type != output_type::image || is_kept(*spec, input)) readers.push_back(spec);
                continue;
            }
            auto const way = std::find(ways.begin(), ways.end(), spec->codec);
            auto const at = static_cast<std::size_t>(way - ways.begin());
            if (way == ways.end()) {
                ways.push_back(spec->codec);
                wanted.emplace_back();
            }
            wanted[at].push_back(spec);
        }
        if (stored && stored->is_remote && !stored->only_named && readers.size() > 1)
            replace(readers, fetched(layer, *stored));
        if (ways.empty()) return out;
        auto made = std::visit([&]<class D>(D) { return pack_each<D>(layer, ways, *store_, env); },
                               specs.front()->digest);
        for (std::size_t i = 0; i < ways.size(); ++i) {
            if (stored) inherit_history(made[i], *stored);
            replace(wanted[i], std::move(made[i]));
        }
        return out;
    }

    // One download for all who read it.
    [[nodiscard]] layer_blob fetched(any_layer_source const& layer, layer_blob facts) const {
        auto from = layer.reader();
        store_blob(*store_, facts.blob, from);
        facts.is_remote = false;
        return facts;
    }

    [[nodiscard]] any_layer_source const* find(any_layer_source const& source,
                                               export_spec const& spec) const {
        for (auto const& one : replacements_)
            if (one.by == &spec && one.source.is_same_as(source)) return &one.replaced;
        return nullptr;
    }

    std::shared_ptr<scratch_store> store_;
    std::vector<replacement> replacements_;
};

/// Where there is room for what several outputs share: beside the first that goes to a disk.
inline std::string shared_folder(std::span<export_spec const> specs) {
    for (auto const& spec : specs) {
        if (spec.type == output_type::image && spec.keep != false)
            return existing_ancestor(local_store_of(spec));
        if (!spec.destination.empty() && spec.destination != "-")
            return existing_ancestor(parent_of(spec.destination));
    }
    return std::filesystem::temp_directory_path().string();
}

/// Throws option_error for two outputs of which one would overwrite the other. A layout can take several.
inline void check_destinations(std::span<export_spec const> specs) {
    auto const place = [](export_spec const& spec) {
        std::error_code ignored;
        auto const path = std::filesystem::weakly_canonical(spec.destination, ignored);
        return ignored || spec.destination == "-" ? spec.destination : path.string();
    };
    for (std::size_t i = 0; i < specs.size(); ++i)
        for (std::size_t j = 0; j < i; ++j)
            if (!specs[i].destination.empty() && place(specs[i]) == place(specs[j]) &&
                (specs[i].tar || specs[j].tar))
                throw option_error{"dest", specs[i].destination,
                                   "outputs " + std::to_string(j + 1) + " and " + std::to_string(i + 1) +
                                       " both go there; give each a place of its own"};
}

/// The same push without setting tags.
inline export_spec untagged(export_spec spec) {
    spec.push_by_digest = true;
    for (auto& name : spec.names) name = name.without_tag();
    return spec;
}

} // namespace detail

/// Exports `what` as each of `specs` says; the results are in that order. When an output fails, those before it are
/// there, but nothing has been pushed. Throws as export_image() does.
template <export_env Env>
std::vector<exported_image> export_images(std::span<export_spec const> asked, export_input const& what,
                                          Env& env) {
    if (asked.size() == 1) return {export_image(asked.front(), what, env)};
    std::vector<export_spec> specs;
    for (auto const& spec : asked) specs.push_back(spec.named_after(what));
    detail::check_destinations(specs);
    for (auto const& spec : specs) {
        detail::check_push<Env>(spec);
        check_export(spec, what);
    }
    if constexpr (lends_registries<Env>)
        for (auto const& spec : specs)
            if (spec.push) env.registries.sink(detail::push_target_of(spec)).connect(); // are they there?
    detail::shared_packing layers{detail::shared_folder(specs)};
    layers.pack(specs, what, env_ref{env});

    auto const export_one = [&](export_spec const& spec, export_spec const& now) {
        auto const results = layers.results_for(spec, what);
        try {
            return export_image(now, export_input{results, what.is_list}, env);
        } catch (error& failure) {
            failure.within("output " + std::to_string(&spec - specs.data() + 1));
            throw;
        }
    };
    std::vector<exported_image> images;
    for (auto const& spec : specs) {
        auto local = spec;
        local.keep = detail::is_kept(spec, what);
        local.push = local.compression_asked = false;
        images.push_back(export_one(spec, local));
        for (auto& warning : detail::compression_warnings(spec, what))
            images.back().warnings.push_back(std::move(warning));
    }
    auto const push = [&](export_spec const& spec, export_spec remote) {
        remote.keep = remote.unpack = false; // that has been done
        static_cast<void>(export_one(spec, remote));
    };
    auto const pushed = std::count_if(specs.begin(), specs.end(), [](auto const& spec) { return spec.push; });
    for (auto const& spec : specs)
        if (spec.push && pushed > 1) push(spec, detail::untagged(spec));
    for (auto const& spec : specs)
        if (spec.push) push(spec, spec);
    return images;
}

} // namespace shiplap

// === shiplap/sink/squashed_layer.hpp ===

// squashed_layer: several layers as one layer_source. No content is kept; whenever it is packed, it reads the
// layers that it is made of, bottom first, and leaves out what is hidden (flatten.hpp says what that is).
//
//     auto surveyed = std::make_shared<layer_flattener>(flattened::changes);
//     ... surveyed->survey(i, entry) ...                 // as flatten.hpp says; layer_entries finds the entries
//     squashed_layer layer{{lower, upper}, surveyed};
//
// export/squash.hpp makes one of the layers of an image.

namespace shiplap {

namespace detail {

/// A byte_sink that takes a layer's tar apart: `on_entry(entry)` tells whether its payload, if it has any, is
/// to go to `on_payload(piece)`.
template <class OnEntry, class OnPayload>
class layer_entries {
  public:
    layer_entries(any_layer_source const& layer, OnEntry on_entry, OnPayload on_payload)
        : scanner_{layer.description()}, on_entry_{std::move(on_entry)}, on_payload_{std::move(on_payload)} {}

    void write(bytes_view in) {
        while (!in.empty()) {
            auto const found = scanner_.next(in);
            if (found == tar_scanner::event::entry)
                wanted_ = on_entry_(scanner_.entry());
            else if (found == tar_scanner::event::payload && wanted_)
                on_payload_(scanner_.payload());
        }
    }
    void finish() const { scanner_.finish(); }

  private:
    tar_scanner scanner_;
    bool wanted_ = false;
    OnEntry on_entry_;
    OnPayload on_payload_;
};

/// Throws `failure` again as one of the layer `number`, counted from 1.
[[noreturn]] inline void throw_for_layer(error& failure, std::size_t number, any_layer_source const& layer) {
    failure.within("layer " + std::to_string(number) + " (" + printable(layer.description()) + ")");
    throw; // NOLINT(misc-throw-by-value-catch-by-reference): called from the handler
}

} // namespace detail

/// A layer_source: several layers as one.
class squashed_layer {
  public:
    /// `surveyed` has seen all entries of `parts`, which are bottom first.
    squashed_layer(std::vector<any_layer_source> parts, std::shared_ptr<layer_flattener const> surveyed)
        : parts_{std::move(parts)}, surveyed_{std::move(surveyed)} {}

    /// Throws what the layers throw, and error{unsupported} as layer_flattener does.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        auto flattener = *surveyed_; // which goes on from there each time
        tar_writer tar{out};
        bool has_payload = false;
        auto const write = [&](tar_entry entry) {
            if (!is_reserved_name(entry.name.substr(entry.name.rfind('/') + 1)))
                entry.mtime = context.time(entry.mtime);
            tar.entry(entry);
            has_payload = entry.size != 0;
        };
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            auto const decide = [&](tar_entry const& entry) {
                has_payload = false;
                flattener.decide(i, entry, write);
                return has_payload;
            };
            detail::layer_entries entries{parts_[i], decide, [&](bytes_view piece) { tar.write(piece); }};
            try {
                parts_[i].write_tar(entries, {{}, context.progress});
                entries.finish();
            } catch (error& failure) {
                detail::throw_for_layer(failure, i + 1, parts_[i]);
            }
        }
        tar.finish();
    }

    [[nodiscard]] std::string description() const {
        return "squash of " + std::to_string(parts_.size()) + " layers";
    }

  private:
    std::vector<any_layer_source> parts_;
    std::shared_ptr<layer_flattener const> surveyed_;
};

} // namespace shiplap

// === shiplap/export/squash.hpp ===

// squash: several layers become one, before an export:
//
//     default_env env;
//     auto image = out(squash(result, squash_scope::above_base, env));
//
//   scope         becomes one layer                       history
//   above_base    the new layers; without a base, or      goes on with one entry for the new layer
//                 without new ones, as `all`
//   all           those of the base, too: there is no     is kept as steps that made no layer, then one
//                 base any longer                         entry for the layer
//
// What the image contains stays the same: applied to the base, the one layer does what the several did
// (sink/flatten.hpp says how, and what it takes for granted). Only one layer is left as it is.
//
// Every layer is read once, topmost first; those that could not be read again as cheaply, for they are packed
// at that moment or lie in a registry, are kept in files without a name until nothing refers to them. The
// new layer reads what it consists of each time it is packed: timestamps, codec and digest are those of the
// export. An exception leaves nothing behind.

namespace shiplap {

/// Which layers of an image become one.
enum class squash_scope { above_base, all };

namespace detail {

/// A layer that was read already, as a plain tar.
struct staged_layer {
    std::shared_ptr<staged_file const> tar;
    std::string name;

    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        tar_layer{any_byte_source{tar->reader()}, name}.write_tar(out, context);
    }
    [[nodiscard]] std::string const& description() const noexcept { return name; }
};

/// The configuration of an image with so many layers and no more: what its history says of others are steps
/// that made none.
inline std::string with_layers(std::string const& config, std::size_t layers) {
    auto const* const subject = "configuration of the squashed image";
    auto const document = parse_json(config, subject);
    auto history = read_history(json_node{document, subject}["history"]);
    auto const changed = [&] {
        std::size_t seen = 0;
        bool any = false;
        for (auto& entry : history)
            if (!entry.empty_layer && ++seen > layers) any = entry.empty_layer = true;
        return any;
    }();
    if (!changed) return config;
    auto members = split_members(config);
    members["history"] = compact(to_json(history));
    return join_members(members);
}

/// Squashes the images of one export, which may have layers in common.
class squasher {
  public:
    squasher(squash_scope scope, progress_ref progress, std::string folder)
        : scope_{scope}, progress_{progress}, folder_{std::move(folder)} {}

    [[nodiscard]] build_result squash(build_result const& result) {
        bool const all = scope_ == squash_scope::all || !result.base || result.layers.empty();
        auto const below = result.base ? result.base->layers.size() : 0;
        std::vector<any_layer_source> layers;
        if (all && result.base) layers = result.base->layers;
        auto const of_base = layers.size();
        layers.insert(layers.end(), result.layers.begin(), result.layers.end());
        if (layers.size() < 2) return result;

        auto flattener = std::make_shared<layer_flattener>(all ? flattened::tree : flattened::changes);
        auto parts = layers;
        for (auto i = layers.size(); i-- > 0;) {
            try {
                survey(parts[i], i, *flattener);
            } catch (error& failure) {
                throw_for_layer(failure, below - of_base + i + 1, layers[i]);
            }
        }
        auto out = result;
        out.layers = {squashed_layer{std::move(parts), std::move(flattener)}};
        if (all && out.base && !out.config)
            out.config = inherited_config(out.base->config, "configuration of the base image");
        if (out.config) out.config = with_layers(*out.config, all ? 0 : below);
        if (all) out.base.reset();
        return out;
    }

    /// A layer that stayed as it is, but may have been read for another image.
    [[nodiscard]] any_layer_source readable(any_layer_source const& layer) const {
        for (auto const& [source, staged] : staged_)
            if (source.is_same_as(layer)) return staged;
        return layer;
    }

  private:
    /// Reads a layer once; if it cannot be read again, or not as cheaply, puts a copy in its place.
    void survey(any_layer_source& part, std::size_t index, layer_flattener& flattener) {
        auto const source = std::exchange(part, readable(part));
        bool const is_copy = !part.is_same_as(source);
        std::optional<staged_file> copy;
        if (!is_copy && !is_near(part)) copy.emplace(folder_, staging::scratch);

        auto const learn = [&](tar_entry const& entry) {
            flattener.survey(index, entry);
            return false;
        };
        layer_entries entries{part, learn, [](bytes_view) {}};
        struct {
            std::optional<staged_file>& copy;
            decltype(entries)& all;
            void write(bytes_view in) {
                if (copy) copy->write(in);
                all.write(in);
            }
        } both{copy, entries};
        activity told{progress_, "read", source.description(), std::nullopt};
        meter count{told};
        gather chunks;
        pipeline pipe{count, chunks, both};
        part.write_tar(pipe, {{}, progress_});
        pipe.finish();
        entries.finish();
        told.finish();
        if (!copy) return;
        part = staged_layer{std::make_shared<staged_file const>(std::move(*copy)), source.description()};
        staged_.emplace_back(source, part);
    }

    /// Whether it costs little to read the layer again: it is packed, and here.
    static bool is_near(any_layer_source const& layer) {
        auto const facts = layer.stored();
        if (facts && facts->only_named)
            throw error{error_code::unsupported, "squash", layer.description(),
                        "is not in the image, which only says where it can be had"};
        return facts && !facts->is_remote;
    }

    squash_scope scope_;
    progress_ref progress_;
    std::string folder_;
    std::vector<std::pair<any_layer_source, any_layer_source>> staged_;
};

} // namespace detail

/// The images of one export with fewer layers. `env` lends its progress; copies of layers lie on the file
/// system of `folder`. Throws what the layers throw; error{unsupported} for a layer that is only named,
/// and for what one layer cannot express (layer_flattener::decide()), this while the
/// result is exported.
template <export_env Env>
std::vector<build_result> squash(std::span<build_result const> results, squash_scope scope, Env& env,
                                 std::string folder = std::filesystem::temp_directory_path().string()) {
    detail::squasher squasher{scope, progress_ref{env.progress}, std::move(folder)};
    std::vector<build_result> out;
    out.reserve(results.size());
    for (auto const& result : results) out.push_back(squasher.squash(result));
    for (auto& result : out)
        for (auto& layer : result.layers) layer = squasher.readable(layer);
    return out;
}

/// The same for one image.
template <export_env Env>
build_result squash(build_result const& result, squash_scope scope, Env& env,
                    std::string folder = std::filesystem::temp_directory_path().string()) {
    return std::move(squash(std::span{&result, 1}, scope, env, std::move(folder)).front());
}

} // namespace shiplap

// === shiplap/fwd.hpp ===

// Names of the main types, for headers that only pass them on. Costs nothing to include.
//
// Not here: the exporter, gzip and estargz. They are templates over concepts, and whoever names a concept has
// to include it.

namespace shiplap {

// bytes, digest
class error;
class executor_ref;
class thread_pool;
struct progress_event;
class progress_ref;
class digest;
struct content_facts;
struct sha256;
struct sha512;

// tar, codec
struct timestamp;
struct tar_entry;
struct uncompressed;
struct zstd;

// image
struct descriptor;
struct platform;
class reference;
struct image_name;
struct oci_media_types;
struct docker_media_types;
struct config_changes;
struct image_config;
struct image_manifest;
struct image_index;
struct layer_blob;
struct attestation;

// store, layer, sink
class memory_store;
class scratch_store;
class layout_store;
struct image_graph;
struct directory_layer;
struct diff_layer;
class tar_layer;
class any_layer_source;
class memory_sink;
class layout_sink;
class oci_archive_sink;
class docker_archive_sink;
class filesystem_sink;

// export
struct default_env;
struct base_image;
struct existing_image;
struct build_result;
struct export_options;
struct exported_image;
struct export_spec;

} // namespace shiplap

// === shiplap/layer/header.hpp ===

// From a source file to its tar header: what is kept, what is dropped, and the policies that change it. By
// default these are the rules of BuildKit's layers, so that the same tree gives the same digest:
//
//   mode      permission, set-id and sticky bits         owner      numbers only, no names
//   mtime     the whole second before it                 xattrs     security.capability alone
//   devices   major and minor                            links      symbolic: target verbatim; hard:
//   entry_writer
//
// Access and change times, ACLs, user.* and trusted.* attributes are not stored.

namespace shiplap {

/// Whom the entries of a layer belong to: kept_owners, root_owned or owned_by(uid, gid).
struct ownership {
    bool kept = true; ///< as in the source; else `uid` and `gid` for every entry
    std::uint32_t uid = 0, gid = 0;
    friend bool operator==(ownership const&, ownership const&) = default;
};

inline constexpr ownership kept_owners{};
inline constexpr ownership root_owned{false, 0, 0};
constexpr ownership owned_by(std::uint32_t uid, std::uint32_t gid) noexcept {
    return {false, uid, gid};
}

/// Which extended attributes are stored.
enum class xattr_policy {
    capabilities,          ///< security.capability
    user_and_capabilities, ///< that and user.*, but for user.overlay.*, which would steer an overlay file
                           ///< system
    none,
};

/// The policies of a header in one place, for the layer sources that read trees.
struct header_policies {
    ownership owners = kept_owners;
    xattr_policy xattrs = xattr_policy::capabilities;
};

namespace detail {

inline constexpr char capability_attribute[] = "security.capability";

/// Where the extended attributes of a file are read: an open file, or a path that ends in it.
class attribute_place {
  public:
    static attribute_place of_open(int fd) { return {fd, {}}; }
    /// Works for what cannot be opened (links, devices) and below any depth: the kernel resolves the name in
    /// the directory that `item.folder` has open. Five times as slow as an open file.
    static attribute_place of(tree_item const& item) {
        if (item.opened >= 0) return of_open(item.opened);
        return {-1, "/proc/self/fd/" + std::to_string(item.folder) + "/" + item.name()};
    }

    /// The value, or nothing if there is no such attribute. Throws system_error; `label` is for its message.
    [[nodiscard]] std::optional<std::string> value(char const* name, source_label label) const {
        return filled(label, [&](char* to, std::size_t size) {
            return fd_ >= 0 ? ::fgetxattr(fd_, name, to, size) : ::lgetxattr(path_.c_str(), name, to, size);
        });
    }

    /// The names, each followed by NUL.
    [[nodiscard]] std::string names(source_label label) const {
        return filled(label,
                      [&](char* to, std::size_t size) {
                          return fd_ >= 0 ? ::flistxattr(fd_, to, size)
                                          : ::llistxattr(path_.c_str(), to, size);
                      })
            .value_or(std::string{});
    }

  private:
    attribute_place(int fd, std::string path) : fd_{fd}, path_{std::move(path)} {}

    template <class Call>
    static std::optional<std::string> filled(source_label label, Call call) {
        constexpr std::size_t usual = 64, largest = 65536; // largest: XATTR_SIZE_MAX and XATTR_LIST_MAX
        std::array<char, usual> space{};
        auto n = call(space.data(), space.size());
        if (n >= 0) return std::string{space.data(), static_cast<std::size_t>(n)};
        if (errno == ENODATA || errno == ENOTSUP) return std::nullopt;
        if (errno != ERANGE) throw system_error{"read extended attributes of", label.text(), errno};
        std::string value(largest, '\0');
        n = call(value.data(), value.size());
        if (n < 0) throw system_error{"read extended attributes of", label.text(), errno};
        value.resize(static_cast<std::size_t>(n));
        return value;
    }

    int fd_;
    std::string path_;
};

inline bool is_stored(std::string_view attribute) {
    return attribute == capability_attribute ||
           (attribute.starts_with("user.") && !attribute.starts_with("user.overlay."));
}

/// The extended attributes that the policy stores, sorted by name.
inline std::vector<extended_attribute> read_attributes(attribute_place const& place, xattr_policy policy,
                                                       source_label label) {
    std::vector<extended_attribute> found;
    if (policy == xattr_policy::none) return found;
    auto const add = [&](char const* name) {
        auto value = place.value(name, label);
        // An empty capability means none.
        if (value && !(value->empty() && name == std::string_view{capability_attribute}))
            found.push_back({name, std::move(*value)});
    };
    if (policy == xattr_policy::capabilities) {
        add(capability_attribute);
        return found;
    }
    auto const list = place.names(label);
    std::vector<std::string> names;
    for (std::size_t at = 0; at < list.size(); at += names.back().size() + 1)
        names.emplace_back(list.c_str() + at);
    std::sort(names.begin(), names.end(), std::greater<>{}); // as in a directory: the next one is at the back
    for (; !names.empty(); names.pop_back())
        if (is_stored(names.back())) add(names.back().c_str());
    return found;
}

inline std::string read_link(tree_item const& item, source_label label) {
    // st_size is the length of the target on most file systems, a hint on the others.
    std::string target(static_cast<std::size_t>(item.facts.st_size) + 1, '\0');
    for (;;) {
        auto const n = ::readlinkat(item.folder, item.name(), target.data(), target.size());
        if (n < 0) throw system_error{"read", label.text(), errno};
        if (static_cast<std::size_t>(n) < target.size()) {
            target.resize(static_cast<std::size_t>(n));
            return target;
        }
        target.resize(2 * target.size());
    }
}

/// The type as tar has it; nothing for a socket.
inline std::optional<entry_type> entry_type_of(::mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG:
        return entry_type::regular;
    case S_IFDIR:
        return entry_type::directory;
    case S_IFLNK:
        return entry_type::symbolic_link;
    case S_IFCHR:
        return entry_type::character_device;
    case S_IFBLK:
        return entry_type::block_device;
    case S_IFIFO:
        return entry_type::fifo;
    default:
        return std::nullopt;
    }
}

/// The header of `item`, without its extended attributes. Not for sockets.
inline tar_entry make_header(tree_item const& item, entry_type type, ownership owners, timestamps_ref time,
                             source_label label) {
    auto const& facts = item.facts;
    tar_entry entry;
    entry.name = item.path;
    entry.type = type;
    entry.mode = facts.st_mode & 07777u;
    entry.uid = owners.kept ? facts.st_uid : owners.uid;
    entry.gid = owners.kept ? facts.st_gid : owners.gid;
    // Seconds of the kernel are rounded down already, below 1970 too.
    entry.mtime = time(timestamp{facts.st_mtim.tv_sec, 0});
    switch (type) {
    case entry_type::directory:
        entry.name += '/';
        break;
    case entry_type::regular:
        entry.size = static_cast<std::uint64_t>(facts.st_size);
        break;
    case entry_type::symbolic_link:
        entry.link_name = read_link(item, label);
        break;
    case entry_type::character_device:
    case entry_type::block_device:
        entry.device_major = ::gnu_dev_major(facts.st_rdev);
        entry.device_minor = ::gnu_dev_minor(facts.st_rdev);
        break;
    default:
        break;
    }
    return entry;
}

} // namespace detail

} // namespace shiplap

// === shiplap/layer/source_file.hpp ===

// The content of one source file, exactly as long as its tar header says. A file that another process writes
// to meanwhile must not end up in a layer half old and half new: its facts are compared when it is opened and
// again after its last byte, and any difference is an error{source_changed} that names the path.
//
// Holes of a sparse file are not read: their zeros are made here, at the speed of memory. A file system that
// cannot tell of holes says that there are none.

namespace shiplap {

/// A byte_source of exactly the `item.facts.st_size` bytes of a regular file. Refers to `item` and `path`, which is
/// for messages.
class source_file {
  public:
    /// Reads the descriptor that the walk has opened, else opens the file. Throws system_error if that cannot be
    /// done, error{source_changed} if it is another file by now.
    source_file(tree_item const& item, source_label path)
        : path_{path},
          expected_{item.facts},
          fd_{item.opened},
          size_{static_cast<std::uint64_t>(item.facts.st_size)},
          data_end_{has_holes(item.facts) ? 0 : size_} {
        if (fd_ >= 0) return; // the facts are those at its opening
        own_ = unique_fd{detail::retry_interrupted(
            [&] { return ::openat(item.folder, item.name(), detail::file_flags); })};
        if (!own_ && errno == ELOOP) detail::throw_changed(path_); // a symbolic link took its place
        if (!own_) throw system_error{"read", path_.text(), errno};
        fd_ = own_.get();
        check();
    }

    /// Throws error{source_changed} if the file ends early, and with its last byte if it has changed.
    std::size_t read(bytes_span into) {
        if (into.empty() || at_ == size_) return 0;
        if (at_ == data_end_) find_data();
        bool const in_hole = at_ < data_begin_;
        auto const left = (in_hole ? data_begin_ : data_end_) - at_;
        if (left < into.size()) into = into.first(static_cast<std::size_t>(left));
        auto const n = in_hole ? zeros(into) : bytes(into);
        at_ += n;
        if (at_ == size_) check();
        return n;
    }

    [[nodiscard]] int descriptor() const noexcept { return fd_; }

  private:
    // Asking costs two system calls for each piece of data: only where blocks are missing and zeros are many.
    static bool has_holes(struct ::stat const& facts) noexcept {
        return facts.st_size >= smallest_sparse && facts.st_blocks < facts.st_size / 512;
    }

    // Sets data_begin_ and data_end_ to the next piece of data at or after at_.
    void find_data() {
        auto const limit = [this](::off_t found) {
            return std::min(static_cast<std::uint64_t>(found), size_);
        };
        auto const begin = ::lseek(fd_, static_cast<::off_t>(at_), SEEK_DATA);
        if (begin < 0 && errno != ENXIO && errno != EINVAL && errno != EOPNOTSUPP)
            throw system_error{"find data in", path_.text(), errno};
        bool const only_hole = begin < 0 && errno == ENXIO;
        data_begin_ = only_hole ? size_ : begin < 0 ? at_ : limit(begin);
        auto const end = begin < 0 ? ::off_t{-1} : ::lseek(fd_, begin, SEEK_HOLE);
        // A file that shrinks meanwhile may have no end to tell; its last byte or check() will.
        data_end_ = end > begin ? std::max(limit(end), data_begin_) : size_;
    }

    static std::size_t zeros(bytes_span into) noexcept {
        std::memset(into.data(), 0, into.size());
        return into.size();
    }

    std::size_t bytes(bytes_span into) const {
        auto const n = detail::retry_interrupted(
            [&] { return ::pread(fd_, into.data(), into.size(), static_cast<::off_t>(at_)); });
        if (n < 0) throw system_error{"read", path_.text(), errno};
        if (n == 0) detail::throw_changed(path_);
        return static_cast<std::size_t>(n);
    }

    void check() const {
        if (!detail::untouched(expected_, detail::stat_open(fd_, path_))) detail::throw_changed(path_);
    }

    static constexpr ::off_t smallest_sparse = 64 * 1024;

    source_label path_;
    struct ::stat const& expected_;
    unique_fd own_;
    int fd_;
    std::uint64_t size_, at_ = 0;
    std::uint64_t data_begin_ = 0, data_end_; // of the piece that holds at_ or comes next; at_ <= data_end_
};

} // namespace shiplap

// === shiplap/layer/compare.hpp ===

// When is a file of the upper tree the one that the lower tree has? As BuildKit's walking differ decides:
// names of one inode are the same file; else mode, owner, device number and stored attributes must agree, and
// for all but directories size and modification time. Archives truncate times to seconds, so two times
// without a sub-second part prove little: then contents (of links: targets) are compared too.

namespace shiplap::detail {

inline bool same_content(tree_item const& a, source_label label_a, tree_item const& b, source_label label_b) {
    source_file left{a, label_a}, right{b, label_b};
    auto const space = std::make_unique_for_overwrite<std::byte[]>(2 * transfer_size);
    bytes_span const left_space{space.get(), transfer_size},
        right_space{space.get() + transfer_size, transfer_size};
    for (;;) {
        auto const n = read_fully(left, left_space);
        if (read_fully(right, right_space.first(n)) != n) return false;
        if (n == 0) return true;
        if (std::memcmp(left_space.data(), right_space.data(), n) != 0) return false;
    }
}

/// Compares things with the same path in two trees.
class file_comparison {
  public:
    /// `open_files` false: contents that would have to be read are taken to be equal.
    file_comparison(tree_walker const& lower, tree_walker const& upper, xattr_policy xattrs, bool open_files)
        : lower_{lower}, upper_{upper}, xattrs_{xattrs}, open_files_{open_files} {}

    [[nodiscard]] bool same(tree_item const& a, tree_item const& b) const {
        auto const &x = a.facts, &y = b.facts;
        if (x.st_dev == y.st_dev && x.st_ino == y.st_ino) return true;
        if (x.st_mode != y.st_mode || x.st_uid != y.st_uid || x.st_gid != y.st_gid || x.st_rdev != y.st_rdev)
            return false;
        auto const label_a = lower_.label(a.path), label_b = upper_.label(b.path);
        if (read_attributes(attribute_place::of(a), xattrs_, label_a) !=
            read_attributes(attribute_place::of(b), xattrs_, label_b))
            return false;
        if (a.is_directory()) return true;
        if (x.st_size != y.st_size || x.st_mtim.tv_sec != y.st_mtim.tv_sec ||
            x.st_mtim.tv_nsec != y.st_mtim.tv_nsec)
            return false;
        if (x.st_mtim.tv_nsec != 0) return true;
        if (a.is_symbolic_link()) return read_link(a, label_a) == read_link(b, label_b);
        return !a.is_regular() || x.st_size == 0 || !open_files_ || same_content(a, label_a, b, label_b);
    }

  private:
    tree_walker const& lower_;
    tree_walker const& upper_;
    xattr_policy xattrs_;
    bool open_files_;
};

} // namespace shiplap::detail

// === shiplap/layer/entry_writer.hpp ===

// Writes source files as tar entries, header and content: what all layer sources that read trees share. The
// first name of an inode with several becomes a regular entry, every later one a hard link to it: no content
// is stored twice. As in the original this holds for all but directories: a hard-linked symbolic link or
// device is a link entry as well.

namespace shiplap::detail {

/// What identifies a file that has several names.
using inode_key = std::pair<::dev_t, ::ino_t>;
/// Of files with several names, the first that was met.
using names_by_inode = std::map<inode_key, std::string>;

inline bool has_other_names(tree_item const& item) noexcept {
    return !item.is_directory() && item.facts.st_nlink > 1;
}
inline inode_key inode_of(tree_item const& item) noexcept {
    return {item.facts.st_dev, item.facts.st_ino};
}

inline constexpr std::uint64_t end_of_archive_size = 2 * tar_block_size;

/// Bytes that an entry takes, extended headers not counted; content counts for the first name of a file
/// alone.
inline std::uint64_t size_in_tar(tree_item const& item, bool first_name) noexcept {
    auto const content = item.is_regular() && first_name ? static_cast<std::uint64_t>(item.facts.st_size) : 0;
    return tar_block_size + content + tar_padding(content);
}

template <byte_sink Out>
class entry_writer {
  public:
    entry_writer(Out& out, layer_context const& context, header_policies policies, tree_walker const& tree)
        : tar_{out}, context_{context}, policies_{policies}, tree_{tree} {}

    /// Writes one entry, content included, and returns its header; nothing is written for a socket.
    std::optional<tar_entry> put(tree_item const& item) {
        auto const label = tree_.label(item.path);
        auto const type = entry_type_of(item.facts.st_mode);
        if (!type) {
            context_.progress.warn("'" + printable(label.text()) +
                                   "' is a socket, which a layer cannot hold: left out");
            return std::nullopt;
        }
        auto entry = make_header(item, *type, policies_.owners, context_.time, label);
        if (has_other_names(item)) {
            auto const [first, is_first] = first_names_.try_emplace(inode_of(item), item.path);
            if (!is_first) turn_into_link(entry, first->second);
        }
        if (entry.size == 0) {
            entry.xattrs = read_attributes(attribute_place::of(item), policies_.xattrs, label);
            tar_.entry(entry);
            return entry;
        }
        source_file content{item, label};
        entry.xattrs =
            read_attributes(attribute_place::of_open(content.descriptor()), policies_.xattrs, label);
        tar_.entry(entry);
        tar_.payload(content, {buffer_.get(), transfer_size});
        return entry;
    }

    /// Another name for an entry that put() returned.
    void put_link(tar_entry entry, std::string name) {
        auto const first = std::exchange(entry.name, std::move(name));
        turn_into_link(entry, first);
        tar_.entry(entry);
    }

    void put_whiteout(std::string_view path) { tar_.entry(whiteout_entry(path)); }

    /// True if a name of this file was written, so that a further one is a link to it.
    [[nodiscard]] bool knows(tree_item const& item) const {
        return has_other_names(item) && first_names_.contains(inode_of(item));
    }

    /// The end of the archive: two blocks of zeros and no further padding.
    void finish() { tar_.finish(); }

  private:
    static void turn_into_link(tar_entry& entry, std::string const& first) {
        entry.type = entry_type::hard_link;
        entry.link_name = first;
        entry.size = 0;
    }

    tar_writer<Out> tar_;
    layer_context const& context_;
    header_policies policies_;
    tree_walker const& tree_;
    names_by_inode first_names_;
    std::unique_ptr<std::byte[]> buffer_ = std::make_unique_for_overwrite<std::byte[]>(transfer_size);
};

} // namespace shiplap::detail

// === shiplap/layer/diff.hpp ===

// diff_layer: the difference of two trees becomes a layer. What `upper` has and `lower` has not, or has
// differently, is an entry; what only `lower` has is a whiteout, one for a whole directory (image-spec,
// layer.md, "Whiteouts"). Applied on top of `lower` the layer gives `upper`.
//
//     diff_layer{.lower = "before", .upper = "after"}
//
// Both trees are walked side by side, in one order; nothing is kept of them but the directories that were
// written and the files with several names. The rules are those of BuildKit's walking differ, byte for byte:
//
//   parents      the directories above an entry are written once, before it, even if nothing about them
//   changed order        that of a walk; a deletion stands where the deleted name stood hard links   an
//   unchanged name of an inode is written too, as a link, once a changed name of it is opaque       no opaque
//   markers: deletions are always named one by one

namespace shiplap {

namespace detail {

/// Walks two trees and tells `changes` what happened to each path, in walk order: removed(item of lower),
/// written(item of upper), or unmodified(item of upper). Nothing is told of what lies below a removed
/// directory, or below one that is no directory any more.
template <class Changes>
void compare_trees(tree_walker& lower, tree_walker& upper, file_comparison const& files, Changes& changes) {
    auto const* before = lower.next();
    auto const* after = upper.next();
    while (before != nullptr || after != nullptr) {
        auto const order = before == nullptr  ? 1
                           : after == nullptr ? -1
                                              : compare_walk_order(before->path, after->path);
        if (order < 0) {
            changes.removed(*before);
            lower.skip_children();
        } else if (order > 0) {
            changes.written(*after);
        } else {
            if (files.same(*before, *after))
                changes.unmodified(*after);
            else
                changes.written(*after);
            if (!after->is_directory()) lower.skip_children();
        }
        if (order <= 0) before = lower.next();
        if (order >= 0) after = upper.next();
    }
}

/// Writes changes as entries.
template <byte_sink Out>
class change_writer {
  public:
    change_writer(entry_writer<Out>& entries, tree_walker const& upper) : entries_{entries}, upper_{upper} {}

    void removed(tree_item const& item) {
        put_parents(item.path);
        entries_.put_whiteout(item.path);
    }

    void written(tree_item const& item) {
        // A socket leaves no entry: the directories above it must not get one for its sake.
        if (entry_type_of(item.facts.st_mode)) put_parents(item.path);
        auto const entry = entries_.put(item);
        if (item.is_directory()) written_.insert(item.path);
        if (!entry || !has_other_names(item)) return;
        auto const names = unchanged_names_.extract(inode_of(item));
        if (names.empty()) return;
        for (auto const& name : names.mapped()) {
            put_parents(name);
            entries_.put_link(*entry, name);
        }
    }

    void unmodified(tree_item const& item) {
        if (!has_other_names(item)) return;
        if (entries_.knows(item))
            written(item);
        else
            unchanged_names_[inode_of(item)].push_back(item.path);
    }

  private:
    // The directories above `path` that have no entry yet, topmost first.
    void put_parents(std::string_view path) {
        auto const end = path.rfind('/');
        if (end == std::string_view::npos || written_.contains(std::string{path.substr(0, end)})) return;
        tree_item folder{};
        unique_fd holder, below;
        folder.folder = upper_.root();
        for (std::size_t from = 0; from < end;) {
            auto const to = path.find('/', from);
            folder.path = path.substr(0, to);
            folder.name_at = from;
            auto const label = upper_.label(folder.path);
            below = unique_fd{
                ::openat(folder.folder, folder.name(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
            if (!below) throw system_error{"read directory", label.text(), errno};
            folder.facts = stat_open(below.get(), label);
            if (written_.insert(folder.path).second) entries_.put(folder);
            std::swap(holder, below);
            folder.folder = holder.get();
            from = to + 1;
        }
    }

    entry_writer<Out>& entries_;
    tree_walker const& upper_;
    std::set<std::string> written_; // directories that have an entry
    std::map<inode_key, std::vector<std::string>> unchanged_names_;
};

/// Adds up what change_writer would write.
struct change_meter {
    std::uint64_t total = end_of_archive_size;
    names_by_inode seen{};

    void removed(tree_item const&) { total += tar_block_size; }
    void written(tree_item const& item) {
        total +=
            size_in_tar(item, !has_other_names(item) || seen.try_emplace(inode_of(item), item.path).second);
    }
    void unmodified(tree_item const&) {}
};

} // namespace detail

struct diff_layer {
    std::string lower, upper; ///< directories, or symbolic links to them
    ownership owners = kept_owners;
    xattr_policy xattrs = xattr_policy::capabilities; ///< also which attributes count as a change
    reserved_names reserved = reserved_names::refuse; ///< for both trees

    /// The whole tar. Repeatable; throws before it writes anything if either tree is not a directory.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        tree_walker before{lower, reserved}, after{upper, reserved};
        detail::entry_writer<Out> entries{out, context, {owners, xattrs}, after};
        detail::change_writer<Out> changes{entries, after};
        detail::compare_trees(before, after, {before, after, xattrs, true}, changes);
        entries.finish();
    }

    /// About the size of the tar: without extended headers and unchanged parents, and where only the content
    /// could tell, a file counts as unchanged. Walks both trees and opens no file.
    [[nodiscard]] std::uint64_t estimated_size() const {
        tree_walker before{lower, reserved}, after{upper, reserved};
        detail::change_meter meter;
        detail::compare_trees(before, after, {before, after, xattrs, false}, meter);
        return meter.total;
    }

    [[nodiscard]] std::string description() const { return "diff:" + lower + ":" + upper; }
};

} // namespace shiplap

// === shiplap/layer/directory.hpp ===

// directory_layer: a directory becomes a layer, the root itself excepted. The default policies give the bytes
// that BuildKit gives for the same tree (layer/header.hpp has the rules); beside them stand three policies:
//
//     directory_layer{"app"}
//     directory_layer{.path = "app", .owners = root_owned}
//     directory_layer{.path = "app", .xattrs = xattr_policy::user_and_capabilities, .reserved =
//     reserved_names::skip}
//
// A file that changes while it is read is an error that names it; so are unreadable and vanished ones.

namespace shiplap {

struct directory_layer {
    std::string path; ///< a directory, or a symbolic link to one
    ownership owners = kept_owners;
    xattr_policy xattrs = xattr_policy::capabilities;
    reserved_names reserved = reserved_names::refuse;

    /// The whole tar. Repeatable; throws before it writes anything if `path` is not a directory.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        tree_walker walk{path, reserved, walk_access::contents};
        detail::entry_writer<Out> writer{out, context, {owners, xattrs}, walk};
        while (auto const* item = walk.next()) writer.put(*item);
        writer.finish();
    }

    /// The size of the tar, but for extended headers. Walks the tree and opens no file.
    [[nodiscard]] std::uint64_t estimated_size() const {
        tree_walker walk{path, reserved};
        detail::names_by_inode seen;
        std::uint64_t total = detail::end_of_archive_size;
        while (auto const* item = walk.next()) {
            auto const first = !detail::has_other_names(*item) ||
                               seen.try_emplace(detail::inode_of(*item), item->path).second;
            total += detail::size_in_tar(*item, first);
        }
        return total;
    }

    [[nodiscard]] std::string description() const { return "dir:" + path; }
};

} // namespace shiplap

// === shiplap/store/reachable.hpp ===

// reachable: everything that images need, as far as it is there.
//
//     auto const needed = find_reachable(layout.entries(), layout);
//     needed.blobs                  // digests and sizes
//     needed.images                 // the images that can be run: platform and chain id
//
// Unlike read_graph() it is content with parts: a store may hold one platform of an index, or lack what is not to be
// distributed. But a document that is there and damaged is an error: what it refers to cannot be known, and whoever
// asks would take that for garbage.

namespace shiplap {

/// An image of which manifest and configuration are there.
struct reachable_image {
    shiplap::platform platform; ///< normalised
    digest chain;
};

struct reachable_contents {
    std::map<digest, std::uint64_t> blobs{}; ///< with their sizes; also those that are not there
    std::vector<reachable_image> images{};   ///< without attestations; each once
};

namespace detail {

template <blob_reader_source S>
class reachable_finder {
  public:
    explicit reachable_finder(S const& from) : from_{from} {}

    void walk(descriptor const& what, unsigned depth = 0) {
        found_.blobs.emplace(what.digest, what.size);
        bool const is_index = is_index_type(what.media_type);
        if (!is_index && !is_manifest_type(what.media_type)) return;
        if (depth >= max_index_depth)
            throw format_error{"read index", what.digest.text(),
                               "more than " + std::to_string(max_index_depth) + " indexes inside each other"};
        if (!from_.contains(what.digest) || !documents_.insert(what.digest).second) return;
        auto const text = read_blob(from_, what);
        if (is_index) {
            for (auto const& child : parse_index(text, what.digest.text(), what.media_type).manifests)
                walk(child, depth + 1);
            return;
        }
        auto const manifest = parse_manifest(text, what.digest.text(), what.media_type);
        for (auto const& layer : manifest.layers) found_.blobs.emplace(layer.digest, layer.size);
        found_.blobs.emplace(manifest.config.digest, manifest.config.size);
        if (is_runnable(manifest) && !what.annotations.contains("vnd.docker.reference.type") &&
            from_.contains(manifest.config.digest))
            add_image(manifest.config);
    }

    void add_image(descriptor const& what) {
        try {
            auto const config = read_config(read_blob(from_, what), what.digest.text());
            found_.images.push_back({normalised(config.platform), chain_id(config.diff_ids)});
        } catch (format_error const&) { // NOLINT(bugprone-empty-catch): refers to nothing, and cannot be run
        }
    }

    [[nodiscard]] reachable_contents take() && { return std::move(found_); }

  private:
    S const& from_;
    reachable_contents found_;
    std::set<digest> documents_; // that were read
};

} // namespace detail

/// What these images need. Throws format_error or digest_mismatch if a document is damaged, error{not_found} if one of
/// `roots` itself is not there.
template <blob_reader_source S>
reachable_contents find_reachable(std::span<descriptor const> roots, S const& from) {
    detail::reachable_finder<S> finder{from};
    for (auto const& root : roots) {
        if (!from.contains(root.digest))
            throw error{error_code::not_found, "read image", root.digest.text(),
                        "it is in the index, but not in the store"};
        finder.walk(root);
    }
    return std::move(finder).take();
}

} // namespace shiplap

// === shiplap/sink/collect.hpp ===

// collect: garbage collection of an image store, an OCI layout directory.
//
// Removed are blobs that no entry of index.json reaches, unpacked trees of layers that no image has, and what killed
// processes have left. All of it happens under the lock of the layout, in which others publish their images. What they
// rely on until then they have leased (store/blob_lease.hpp) or not yet given a name. A damaged document ends it before
// anything is removed. Other tools know nothing of all this: they must not write into the layout meanwhile.

namespace shiplap {

struct collected_garbage {
    std::vector<digest> blobs{}; ///< that were removed
    std::uint64_t bytes = 0;     ///< of these
    std::vector<digest> trees{}; ///< chain ids of unpacked trees that were removed
    std::vector<digest> kept{};  ///< blobs that no image needs, but an export that is under way
};

namespace detail {

class garbage_collector {
  public:
    garbage_collector(std::string path, reachable_contents needed, bool only_try)
        : path_{std::move(path)}, needed_{std::move(needed)}, only_try_{only_try} {
        for (auto const& image : needed_.images) chains_.insert(image.chain);
    }

    collected_garbage run() && {
        for (auto const* algorithm : {"sha256", "sha512"}) {
            collect_blobs(algorithm);
            collect_trees(algorithm);
        }
        return std::move(found_);
    }

  private:
    // The names in a folder of the store, if there is one, and its descriptor.
    static std::vector<std::string> open_folder(std::string const& folder, unique_fd& fd) {
        if (!file_facts(folder)) return {};
        fd = open_file(folder, O_RDONLY | O_DIRECTORY);
        return names_in(fd.get(), folder);
    }

    // What a file is called by; nothing if it is not ours.
    static std::optional<digest> digest_of(std::string const& algorithm, std::string const& name) {
        try {
            return digest::parse(algorithm + ":" + name);
        } catch (format_error const&) {
            return std::nullopt;
        }
    }

    void collect_blobs(std::string const& algorithm) {
        auto const folder = path_ + "/blobs/" + algorithm + "/";
        unique_fd fd;
        for (auto const& name : open_folder(folder, fd)) {
            auto const path = folder + name;
            // Here a file has a hidden name only while it is published, which is under the lock that we have.
            bool const is_leftover = name.starts_with(".shiplap-");
            auto const which = digest_of(algorithm, name);
            if (!is_leftover && (!which || needed_.blobs.contains(*which))) continue;
            auto const facts = stat_name(fd.get(), name.c_str(), path);
            if (!S_ISREG(facts.st_mode)) continue;
            if (!remove_unleased(path, only_try_)) {
                if (which) found_.kept.push_back(*which);
                continue;
            }
            found_.bytes += static_cast<std::uint64_t>(facts.st_size);
            if (which) found_.blobs.push_back(*which);
        }
    }

    void collect_trees(std::string const& algorithm) {
        auto const folder = path_ + "/.shiplap-unpacked/" + algorithm + "/";
        unique_fd fd;
        auto const names = open_folder(folder, fd);
        if (!fd) return;
        bool const nobody_unpacks =
            retry_interrupted([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) == 0;
        for (auto const& name : names) {
            auto const chain = digest_of(algorithm, name);
            bool const is_leftover =
                name.starts_with(old_tree) || (nobody_unpacks && name.starts_with(".shiplap-"));
            if (!is_leftover && (!chain || chains_.contains(*chain))) continue;
            if (chain) found_.trees.push_back(*chain);
            if (only_try_) continue;
            auto hidden = name;
            if (chain) { // a tree that is half removed must not be taken for a whole one
                hidden = old_tree + name;
                if (::renameat(fd.get(), name.c_str(), fd.get(), hidden.c_str()) != 0)
                    throw system_error{"remove", folder + name, errno};
            }
            remove_tree(fd.get(), hidden, folder + hidden);
        }
    }

    static constexpr char old_tree[] = ".shiplap-old-";

    std::string path_;
    reachable_contents needed_;
    std::set<digest> chains_;
    bool only_try_;
    collected_garbage found_;
};

} // namespace detail

/// Removes what no image of the layout in directory `path` needs; with `only_try` just says what that is. Throws
/// error{not_found} if there is no layout or an image of it is missing, format_error or digest_mismatch if a document is
/// damaged, and then has removed nothing.
inline collected_garbage collect_garbage(std::string const& path, bool only_try = false) {
    layout_store const layout{path};
    static_cast<void>(layout.entries()); // throws if there is no layout to lock
    folder_lock const lock{layout.path()};
    auto needed = [&] {
        try {
            return find_reachable(layout.entries(), layout);
        } catch (error& failure) {
            failure.within("nothing was removed, for an image is damaged");
            throw;
        }
    }();
    return detail::garbage_collector{layout.path(), std::move(needed), only_try}.run();
}

} // namespace shiplap

// === shiplap/store/memory.hpp ===

// memory_store: blobs in a map. For tests, for small images, and as the shortest model of a blob_store.

namespace shiplap {

class memory_store {
    struct state {
        std::mutex mutex;
        std::map<digest, std::string> blobs;
    };

  public:
    class writer {
      public:
        explicit writer(state& store) noexcept : store_{&store} {}
        void write(bytes_view in) { bytes_.append(as_text(in)); }
        void commit(content_facts const& facts) {
            std::lock_guard const lock{store_->mutex};
            // Readers may refer to a blob that is there: it stays, and is the same.
            store_->blobs.try_emplace(facts.digest, std::move(bytes_));
        }

      private:
        state* store_;
        std::string bytes_;
    };

    [[nodiscard]] writer open() noexcept { return writer{*state_}; }

    [[nodiscard]] bool contains(digest const& which) const {
        std::lock_guard const lock{state_->mutex};
        return state_->blobs.contains(which);
    }

    /// The reader refers to this store and is valid as long as the store is.
    [[nodiscard]] span_source reader(digest const& which) const {
        std::lock_guard const lock{state_->mutex};
        auto const found = state_->blobs.find(which);
        if (found == state_->blobs.end())
            throw error{error_code::not_found, "read blob", which.text(), "not in memory"};
        return span_source{found->second};
    }

    /// All blobs; while nobody writes.
    [[nodiscard]] std::map<digest, std::string> const& blobs() const noexcept { return state_->blobs; }

  private:
    std::unique_ptr<state> state_ = std::make_unique<state>(); // stays where it is when the store is moved
};

} // namespace shiplap

// === shiplap/sink/memory.hpp ===

// memory_sink: an image in memory. For tests, and for programs that look at an image without writing it.

namespace shiplap {

/// A storing_sink. What is packed or put can be read from store() at once; images() holds what was committed.
class memory_sink {
  public:
    struct named_image {
        descriptor root;
        image_name name; ///< empty: known by its digest only
    };

    [[nodiscard]] memory_store& store() noexcept { return store_; }
    [[nodiscard]] memory_store const& store() const noexcept { return store_; }

    /// Committed images, in the order in which they got their names. A name belongs to one image: the last
    /// one.
    [[nodiscard]] std::vector<named_image> const& images() const noexcept { return images_; }

    [[nodiscard]] bool exists(descriptor const& what) const {
        auto const found = store_.blobs().find(what.digest);
        return found != store_.blobs().end() && found->second.size() == what.size;
    }

    void put(descriptor const& what, replayable_source_ref from) {
        store_blob(store_, {what.digest, what.size}, from);
    }

    void tag(descriptor const& root, image_name const& name) { tagged_.push_back({root, name}); }

    void commit() {
        for (auto& image : std::exchange(tagged_, {})) {
            std::erase_if(images_, [&](named_image const& there) {
                return there.name == image.name &&
                       (image.name != image_name{} || there.root.digest == image.root.digest);
            });
            images_.push_back(std::move(image));
        }
    }

  private:
    memory_store store_;
    std::vector<named_image> tagged_, images_;
};

} // namespace shiplap

// === shiplap/store/file_window.hpp ===

// file_window: part of a file as a replayable_source. How blobs that lie in an archive are read in place.

namespace shiplap {

namespace detail {

/// Fills `into` from `offset` on, less at the end of the file.
inline std::size_t read_at(file_reader const& file, std::uint64_t offset, bytes_span into) {
    std::size_t filled = 0;
    while (filled < into.size()) {
        auto const rest = into.subspan(filled);
        auto const n = retry_interrupted([&] {
            return ::pread(file.descriptor(), rest.data(), rest.size(),
                           static_cast<::off_t>(offset + filled));
        });
        if (n < 0) throw system_error{"read", file.path(), errno};
        if (n == 0) break;
        filled += static_cast<std::size_t>(n);
    }
    return filled;
}

} // namespace detail

/// Part of a file, as a replayable_source. Windows share the open file and nothing else.
class file_window {
  public:
    file_window(std::shared_ptr<file_reader const> file, std::uint64_t offset, std::uint64_t size)
        : file_{std::move(file)}, offset_{offset}, size_{size} {}

    /// Throws format_error if the file is shorter than it was.
    std::size_t read(bytes_span into) {
        auto const wanted = std::min<std::uint64_t>(into.size(), size_ - position_);
        if (wanted == 0) return 0;
        auto const n =
            detail::read_at(*file_, offset_ + position_, into.first(static_cast<std::size_t>(wanted)));
        if (n == 0)
            throw format_error{"read", file_->path(),
                               "truncated at offset " + std::to_string(offset_ + position_) +
                                   " while it was read"};
        position_ += n;
        return n;
    }
    void rewind() noexcept { position_ = 0; }

    [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  private:
    std::shared_ptr<file_reader const> file_;
    std::uint64_t offset_, size_, position_ = 0;
};

} // namespace shiplap

// === shiplap/store/archive.hpp ===

// archive: the members of a tar file by name, without unpacking it. What oci_archive_store and
// docker_archive_store stand on.
//
// The headers are read once and remembered; payloads are read in place when they are asked for, any number of
// times and on any number of threads. An archive that is compressed (`docker save app | gzip`) or that cannot
// be read twice (a pipe) is first unpacked into a file without a name in the folder for temporary files.
//
// Names are looked up, never opened: "./a//b" and "a/b" are one name, members may come in any order, links
// lead to other members of the same archive or nowhere. A name or link that leaves the archive is an
// error{unsafe_entry}; so are, as format_error, two members of one name (when that is asked for) and an
// archive that ends early.

namespace shiplap {

namespace detail {

/// `name`, seen from `folder`, as the plain path "a/b"; none if it leads out of the archive.
inline std::optional<std::string> path_inside(std::string_view folder, std::string_view name) {
    if (name.starts_with('/')) return {};
    std::string path{folder};
    while (!name.empty()) {
        auto const slash = std::min(name.find('/'), name.size());
        auto const part = name.substr(0, slash);
        name.remove_prefix(std::min(slash + 1, name.size()));
        if (part.empty() || part == ".") continue;
        if (part != "..") {
            if (!path.empty()) path += '/';
            path += part;
            continue;
        }
        if (path.empty()) return {};
        auto const up = path.rfind('/');
        path.resize(up == path.npos ? 0 : up);
    }
    return path;
}

/// Where an image layout keeps a blob (image-spec, image-layout.md, "Blobs").
inline std::string blob_member(digest const& which) {
    return "blobs/" + std::string{which.algorithm()} + "/" + std::string{which.encoded()};
}

} // namespace detail

/// See the top of this header.
class archive_files {
  public:
    /// Members of an archive at most.
    static constexpr std::uint64_t max_members = 100'000;
    /// Links that lead to links at most.
    static constexpr unsigned max_links = 16;

    /// Opens `path`, "-" is standard input, and reads all headers. Throws system_error, format_error.
    explicit archive_files(std::string path) : path_{std::move(path)}, file_{open_twice_readable()} {
        read_headers();
    }

    /// Is there a regular file of this name?
    [[nodiscard]] bool contains(std::string_view name) const { return find(name) != nullptr; }

    /// The payload of a regular file. Throws error{not_found}.
    [[nodiscard]] file_window open(std::string_view name) const {
        auto const* const found = find(name);
        if (!found)
            throw error{error_code::not_found, "read archive", path_,
                        "it has no file '" + printable(name) + "'"};
        return {file_, found->offset, found->size};
    }

    /// A whole small file; more than `limit` bytes are a format_error.
    [[nodiscard]] std::string text(std::string_view name, std::uint64_t limit = max_document_size) const {
        auto window = open(name);
        if (window.size() > limit)
            throw format_error{"read archive", path_,
                               "its file '" + printable(name) + "' has " + std::to_string(window.size()) +
                                   " bytes, at most " + std::to_string(limit) + " are read"};
        string_sink out;
        transfer(window, out);
        return std::move(out.text);
    }

    [[nodiscard]] std::string const& path() const noexcept { return path_; }

  private:
    struct member {
        entry_type type;
        std::uint64_t offset, size; // of the payload
        std::string target;         // of a link: a path inside, or as it stands if that leads out
        bool inside = true;         // does it?
        bool repeated = false;
    };

    [[nodiscard]] std::shared_ptr<file_reader const> open_twice_readable() const {
        if (path_ == "-") return unpacked(stream_reader{STDIN_FILENO, "standard input"});
        auto file = std::make_shared<file_reader const>(path_);
        struct ::stat facts {};
        if (::fstat(file->descriptor(), &facts) != 0) throw system_error{"read", path_, errno};
        if (S_ISDIR(facts.st_mode)) throw system_error{"read", path_, EISDIR};
        if (!S_ISREG(facts.st_mode)) return unpacked(stream_reader{file->descriptor(), path_});
        std::array<std::byte, 16> head{};
        auto const n = detail::read_at(*file, 0, head);
        auto const start = bytes_view{head}.first(n);
        if (sniff_encoding(start).empty() && detail::foreign_format(start).empty()) return file;
        return unpacked(stream_reader{file->descriptor(), path_});
    }

    [[nodiscard]] std::shared_ptr<file_reader const> unpacked(stream_reader from) const {
        try {
            staged_file plain{std::filesystem::temp_directory_path().string(), staging::scratch};
            auto source = decode_any(any_byte_source{std::move(from)});
            transfer(source, plain);
            return std::make_shared<file_reader const>(plain.reader());
        } catch (error& failure) {
            failure.within("archive '" + printable(path_) + "'");
            throw;
        }
    }

    // The scanner wants to see every byte but does not look at payloads: it is given zeros in their place.
    void read_headers() {
        struct ::stat facts {};
        if (::fstat(file_->descriptor(), &facts) != 0) throw system_error{"read", path_, errno};
        auto const file_size = static_cast<std::uint64_t>(facts.st_size);

        tar_scanner scanner{path_, {.max_entries = max_members}};
        std::string const zeros(transfer_size, '\0');
        std::array<std::byte, tar_block_size> block{};
        for (;;) {
            auto const n = detail::read_at(*file_, scanner.offset(), block);
            if (n == 0) break;
            auto in = bytes_view{block}.first(n);
            auto const what = scanner.next(in);
            if (what == tar_scanner::event::end) return;
            if (what != tar_scanner::event::entry) continue;
            add(scanner.entry(), scanner.offset());
            auto rest = scanner.entry().size + tar_padding(scanner.entry().size);
            if (rest > file_size - std::min(file_size, scanner.offset()))
                throw format_error{"read archive", path_,
                                   "truncated: has " + std::to_string(file_size) + " bytes, its file '" +
                                       printable(scanner.entry().name) + "' would end at offset " +
                                       std::to_string(scanner.offset() + rest)};
            while (rest != 0) {
                auto skipped = as_bytes(zeros).first(
                    static_cast<std::size_t>(std::min<std::uint64_t>(rest, zeros.size())));
                rest -= skipped.size();
                while (!skipped.empty()) scanner.next(skipped);
            }
        }
        scanner.finish();
    }

    void add(tar_entry const& entry, std::uint64_t offset) {
        auto name = detail::path_inside("", entry.name);
        if (!name) refuse("its member '" + printable(entry.name) + "' lies outside of it");
        member found{entry.type, offset, entry.size, entry.link_name};
        if (!entry.link_name.empty()) {
            auto const slash = name->rfind('/');
            bool const relative = entry.type == entry_type::symbolic_link && slash != name->npos;
            auto target = detail::path_inside(relative ? std::string_view{*name}.substr(0, slash) : "",
                                              entry.link_name);
            found.inside = target.has_value();
            if (target) found.target = std::move(*target);
        }
        auto const [there, added] = members_.try_emplace(std::move(*name), found);
        bool const both_folders =
            there->second.type == entry_type::directory && entry.type == entry_type::directory;
        if (!added && !both_folders) there->second.repeated = true;
    }

    [[nodiscard]] member const* find(std::string_view name) const {
        auto path = detail::path_inside("", name);
        if (!path) refuse("the file '" + printable(name) + "' lies outside of it");
        for (unsigned links = 0; links <= max_links; ++links) {
            auto const found = members_.find(*path);
            if (found == members_.end()) return nullptr;
            auto const& what = found->second;
            if (what.repeated)
                throw format_error{"read archive", path_,
                                   "it has several members called '" + printable(*path) + "'"};
            if (what.type == entry_type::regular) return &what;
            if (what.target.empty()) return nullptr;
            if (!what.inside)
                refuse("its link '" + printable(*path) + "' to '" + printable(what.target) +
                       "' leads out of it");
            path = what.target;
        }
        throw format_error{"read archive", path_,
                           "'" + printable(name) + "' is a chain of more than " + std::to_string(max_links) +
                               " links"};
    }

    [[noreturn]] void refuse(std::string const& reason) const {
        throw error{error_code::unsafe_entry, "read archive", path_, reason};
    }

    std::string path_;
    std::shared_ptr<file_reader const> file_;
    std::map<std::string, member, std::less<>> members_;
};

} // namespace shiplap

// === shiplap/store/oci_archive.hpp ===

// oci_archive_store: the images of an OCI archive, a tar file of an OCI image layout, read in place.
//
//     oci_archive_store archive{"app.tar"};
//     copy(archive.resolve("app:1"), names, archive, sink, env);
//
// See archive.hpp for what is accepted as a tar file. Blobs are handed out as they lie there: who reads them
// verifies, as copy() does (image-spec, image-layout.md).

namespace shiplap {

namespace detail {

/// The index.json of a layout in a tar file. Throws format_error, error{not_found} if a part is missing.
inline std::vector<descriptor> read_layout_entries(archive_files const& files) {
    check_layout_header(files.text("oci-layout"), files.path() + ": oci-layout");
    return parse_layout_index(files.text("index.json"), files.path() + ": index.json");
}

} // namespace detail

/// As find_entry(), but `name` may also be what people write for a full name, "app" for
/// docker.io/library/app:latest.
inline descriptor find_archived(std::span<descriptor const> entries, std::string_view name,
                                std::string_view path) {
    std::string full;
    try {
        if (!name.empty()) full = name_of(reference::parse(name)).full;
    } catch (option_error const&) { // then it is none, but a ref.name or a digest may look like anything
    }
    bool const found = !full.empty() && std::any_of(entries.begin(), entries.end(), [&](auto const& entry) {
        return name_of_entry(entry).full == full;
    });
    return find_entry(entries, found ? std::string_view{full} : name, path);
}

/// A blob_reader_source.
class oci_archive_store {
  public:
    /// Opens the file and reads its headers and its index. Throws system_error, format_error.
    explicit oci_archive_store(std::string path) : files_{std::move(path)} {
        if (!files_.contains("oci-layout"))
            throw format_error{"read archive", files_.path(),
                               files_.contains("manifest.json")
                                   ? "is a docker archive, not an OCI archive: it has no file 'oci-layout'"
                                   : "is no OCI archive: it has no file 'oci-layout'"};
        entries_ = detail::read_layout_entries(files_);
    }

    [[nodiscard]] bool contains(digest const& which) const {
        return files_.contains(detail::blob_member(which));
    }
    /// Reads independently of all other readers, and even after the store is gone.
    [[nodiscard]] file_window reader(digest const& which) const {
        return files_.open(detail::blob_member(which));
    }

    /// The images that index.json lists.
    [[nodiscard]] std::vector<descriptor> const& entries() const noexcept { return entries_; }
    /// The image called `name`: see find_archived().
    [[nodiscard]] descriptor resolve(std::string_view name) const {
        return find_archived(entries_, name, files_.path());
    }

    [[nodiscard]] std::string const& path() const noexcept { return files_.path(); }

  private:
    archive_files files_;
    std::vector<descriptor> entries_;
};

} // namespace shiplap

// === shiplap/store/docker_archive.hpp ===

// docker_archive_store: the images of an archive that `docker save`, podman, skopeo or docker_archive_sink
// made, read in place.
//
//     docker_archive_store archive{"app.tar"};
//     copy(archive.resolve("app:1"), names, archive, sink, env);
//
// Newer archives hold an OCI image layout as well; where that is whole it is what is read, and digests are
// those of the registry. Others have only manifest.json, a list of images as file names:
//
//     [{"Config":"<hex>.json","RepoTags":["app:1"],"Layers":["<path>.tar",...]}]
//
// For those an image manifest is made up, of Docker's media types: configuration and layers are as they lie
// in the archive, which is read once for their digests, and every layer is checked against the diff_id that
// the configuration has for it (image-spec, config.md). See archive.hpp for what is accepted as a tar file.

namespace shiplap {

/// A blob_reader_source.
class docker_archive_store {
  public:
    /// A replayable_source: a file of the archive, or a text that the store holds.
    class blob_reader {
      public:
        explicit blob_reader(file_window file) : from_{std::move(file)} {}
        explicit blob_reader(span_source text) : from_{text} {}
        std::size_t read(bytes_span into) {
            return std::visit([into](auto& from) { return from.read(into); }, from_);
        }
        void rewind() {
            std::visit([](auto& from) { from.rewind(); }, from_);
        }

      private:
        std::variant<file_window, span_source> from_;
    };

    /// Opens the file and reads its headers; if it has no layout, also all of its layers. Throws
    /// system_error, format_error, digest_mismatch.
    explicit docker_archive_store(std::string path) : files_{std::move(path)} {
        if (has_layout()) return;
        entries_.clear();
        read_manifest();
    }

    [[nodiscard]] bool contains(digest const& which) const {
        return texts_.contains(which) || blobs_.contains(which) ||
               files_.contains(detail::blob_member(which));
    }

    /// Reads independently of all other readers; valid as long as the store is.
    [[nodiscard]] blob_reader reader(digest const& which) const {
        if (auto const text = texts_.find(which); text != texts_.end())
            return blob_reader{span_source{text->second}};
        if (auto const file = blobs_.find(which); file != blobs_.end())
            return blob_reader{files_.open(file->second)};
        return blob_reader{files_.open(detail::blob_member(which))};
    }

    /// The images, one entry for each name.
    [[nodiscard]] std::vector<descriptor> const& entries() const noexcept { return entries_; }

    /// The image called `name`: see find_archived().
    [[nodiscard]] descriptor resolve(std::string_view name) const {
        return find_archived(entries_, name, files_.path());
    }

    [[nodiscard]] std::string const& path() const noexcept { return files_.path(); }

  private:
    struct layer_facts {
        descriptor what;
        digest diff_id; // of the algorithm that was asked for
    };

    // Docker leaves out of the layout what it does not have, such as other platforms.
    bool has_layout() {
        if (!files_.contains("oci-layout") || !files_.contains("index.json")) return false;
        entries_ = detail::read_layout_entries(files_);
        try {
            for (auto const& entry : entries_) (void)read_graph(entry, *this);
        } catch (error const& failure) {
            if (failure.code() != error_code::not_found || !files_.contains("manifest.json")) throw;
            return false;
        }
        return !entries_.empty() || !files_.contains("manifest.json");
    }

    void read_manifest() {
        if (!files_.contains("manifest.json"))
            throw format_error{"read archive", files_.path(),
                               "is no docker archive: it has no file 'manifest.json'"};
        auto const subject = files_.path() + ": manifest.json";
        auto const document = parse_json(files_.text("manifest.json"), subject);
        json_node const images{document, subject};
        for (std::size_t i = 0; i < images.length(); ++i) {
            try {
                read_image(images.item(i));
            } catch (error& failure) {
                failure.within("image " + std::to_string(i + 1) + " of manifest.json");
                throw;
            }
        }
    }

    void read_image(json_node const& image) {
        auto const config_name = image["Config"].text();
        auto const subject = files_.path() + ": " + config_name;
        auto const text = files_.text(config_name);
        auto const config = read_config(text, subject);

        image_manifest manifest{.media_type = std::string{docker_media_types::manifest},
                                .config = {.media_type = std::string{docker_media_types::config},
                                           .digest = digest::of<sha256>(as_bytes(text)),
                                           .size = text.size()}};
        check_name(config_name, manifest.config.digest);
        blobs_.insert_or_assign(manifest.config.digest, config_name);

        auto const layers = image["Layers"].texts();
        if (layers.size() != config.diff_ids.size())
            image.refuse("has " + std::to_string(layers.size()) + " layers, its configuration '" +
                         config_name + "' has " + std::to_string(config.diff_ids.size()) + " diff_ids");
        for (std::size_t i = 0; i < layers.size(); ++i)
            manifest.layers.push_back(read_layer(layers[i], config.diff_ids[i]));

        auto const content = to_text(manifest);
        descriptor root{.media_type = manifest.media_type,
                        .digest = digest::of<sha256>(as_bytes(content)),
                        .size = content.size(),
                        .platform = config.platform};
        texts_.insert_or_assign(root.digest, content);
        add_names(image, root);
    }

    void add_names(json_node const& image, descriptor const& root) {
        auto const names = image["RepoTags"].texts();
        if (names.empty()) entries_.push_back(root);
        for (auto const& name : names)
            entries_.push_back(named_entry(root, read_name(image["RepoTags"], name)));
    }

    static image_name read_name(json_node const& place, std::string const& name) {
        try {
            auto const what = reference::parse(name);
            if (!what.tag().empty() && !what.digest()) return name_of(what);
        } catch (option_error const& wrong) {
            place.refuse("'" + name + "': " + wrong.reason());
        }
        place.refuse("'" + name + "' must be a name with a tag and without a digest");
    }

    descriptor const& read_layer(std::string const& name, digest const& diff_id) {
        auto const& facts = diff_id.algorithm() == sha512::name ? layer<sha512>(name) : layer<sha256>(name);
        if (facts.diff_id != diff_id)
            throw digest_mismatch{"verify layer", files_.path() + ": " + name,
                                  "unpacked it has digest " + facts.diff_id.text() +
                                      ", the configuration says " + diff_id.text()};
        return facts.what;
    }

    // Images share layers, often under several names that link to one file: each is read once.
    template <digest_algorithm D>
    layer_facts const& layer(std::string const& name) {
        auto file = files_.open(name);
        auto const key = std::pair{file.offset(), D::name};
        if (auto const known = layers_.find(key); known != layers_.end()) return known->second;

        std::array<std::byte, 16> head{};
        auto const encoding = sniff_encoding(bytes_view{head}.first(read_fully(file, head)));
        file.rewind();
        hashed_source packed{std::move(file)};
        tap<D> plain;
        null_sink nowhere;
        bool const is_plain = encoding.empty() && std::same_as<D, sha256>; // then one hash serves for both
        try {
            if (!is_plain) {
                auto source = decode_as(encoding, any_byte_source{byte_source_ref{packed}});
                pipeline pipe{plain, nowhere};
                transfer(source, pipe);
            }
            transfer(packed, nowhere); // all, or what the decoder left
        } catch (error& failure) {
            failure.within("layer '" + printable(name) + "'");
            throw;
        }
        auto const blob = packed.hash.facts();
        layer_facts facts{{.media_type = std::string{docker_media_types::layer(encoding)},
                           .digest = blob.digest,
                           .size = blob.size},
                          is_plain ? blob.digest : plain.facts().digest};
        blobs_.insert_or_assign(blob.digest, name);
        return layers_.emplace(key, std::move(facts)).first->second;
    }

    struct hashed_source {
        file_window from;
        tap<sha256> hash{};
        std::size_t read(bytes_span into) {
            null_sink nowhere;
            auto const n = from.read(into);
            hash.write(into.first(n), nowhere);
            return n;
        }
    };

    // docker save, podman and the layout call files by their digest; Docker takes the content for it.
    void check_name(std::string_view name, digest const& actual) const {
        name = name.substr(name.rfind('/') + 1);
        if (name.ends_with(".json")) name.remove_suffix(5);
        bool const is_digest = name.size() == 64 && name.find_first_not_of("0123456789abcdef") == name.npos;
        if (is_digest && name != actual.encoded())
            throw digest_mismatch{"verify configuration", files_.path() + ": " + std::string{name},
                                  "content has digest " + actual.text()};
    }

    archive_files files_;
    std::vector<descriptor> entries_;
    std::map<digest, std::string> texts_; // manifests that were made up
    std::map<digest, std::string> blobs_; // names of files
    std::map<std::pair<std::uint64_t, std::string_view>, layer_facts> layers_;
};

} // namespace shiplap

// === shiplap/store/remove.hpp ===

// remove_names: takes images out of the index of an OCI layout. Their blobs stay until garbage is collected
// (sink/collect.hpp): other images may consist of them, too.

namespace shiplap {

/// Removes the entries with these names from the layout in directory `path`, all of them or, if one is unknown, none. A
/// digest means all entries of that image, other names are understood as by find_reference(). Returns what was removed.
/// Throws error{not_found} that says which names there are.
inline std::vector<descriptor> remove_names(std::string const& path, std::span<std::string const> names) {
    layout_store const layout{path};
    static_cast<void>(layout.entries()); // throws if there is no layout to lock
    folder_lock const lock{layout.path()};
    auto const index = layout.path() + "/index.json";
    auto const text = read_file(index, max_document_size);
    auto const entries = parse_layout_index(text, index);

    std::set<std::size_t> places;
    for (auto const& name : names) {
        if (name.empty()) throw option_error{"remove image", name, "the name is empty"};
        auto const wanted = find_reference(entries, name, layout.path());
        bool const by_digest = wanted.digest.text() == name;
        for (std::size_t i = 0; i < entries.size(); ++i)
            if (entries[i].digest == wanted.digest &&
                (by_digest || name_of_entry(entries[i]) == name_of_entry(wanted)))
                places.insert(i);
    }
    std::vector<descriptor> removed;
    removed.reserve(places.size());
    for (auto const place : places) removed.push_back(entries[place]);
    if (!removed.empty()) {
        write_file(index, drop_from_layout_index(text, places, index));
        detail::sync_directory(layout.path());
    }
    return removed;
}

} // namespace shiplap

// === shiplap/version.hpp ===

// The version of shiplap, in one place: CMake and pkg-config read it from here.

#define SHIPLAP_VERSION_MAJOR 0
#define SHIPLAP_VERSION_MINOR 1
#define SHIPLAP_VERSION_PATCH 0

namespace shiplap {

/// Semantic version of these headers, as "major.minor.patch".
inline constexpr char version[] = "0.1.0";

} // namespace shiplap

// === shiplap/shiplap.hpp ===

// All of shiplap but what needs a library beyond the core. Who needs one part includes that part: a folder's
// headers compile without those of the folders above it.
