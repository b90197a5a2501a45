#pragma once
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

#include <shiplap/bytes/activity.hpp>
#include <shiplap/bytes/erased.hpp>
#include <shiplap/bytes/progress.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/sink/concept.hpp>
#include <shiplap/sink/overall_progress.hpp>
#include <shiplap/store/concept.hpp>
#include <shiplap/store/graph.hpp>
#include <shiplap/store/read_ahead.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <thread>
#include <utility>
#include <vector>

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
