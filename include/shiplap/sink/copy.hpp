#pragma once
// copy: delivers an image from where it is to where it shall be. The one loop behind export, push, pull,
// convert and archive:
//
//     copy(root, names, store, layout_sink{"app-layout"}, env);
//
//   1. Follow the descriptors from `root` (read_graph): all manifests are verified, nothing is missing.
//   2. Put what the sink does not have: configurations and layers, then manifests, then indexes, the root
//   last;
//      or what an arranging_sink asks for, in its order. Every byte is verified on its way. A remote_sink gets
//      several configurations and layers at once, and manifests when all of those have arrived.
//   3. Tag the root with each name, and commit.
//
// Nothing is put if the source is the sink's own store: everything is where it belongs.

#include <shiplap/bytes/activity.hpp>
#include <shiplap/bytes/erased.hpp>
#include <shiplap/bytes/progress.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/sink/concept.hpp>
#include <shiplap/store/concept.hpp>
#include <shiplap/store/graph.hpp>

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

/// A source that tells how far its reader is: what is read a second time does not count. Throws copy_stopped when the
/// bytes are not wanted any more.
template <replayable_source R>
class counted_source {
  public:
    counted_source(R from, std::uint64_t size, activity& told, bool awaits_answer,
                   std::atomic<bool> const* stopped)
        : from_{std::move(from)},
          size_{size},
          told_{told},
          awaits_answer_{awaits_answer},
          stopped_{stopped} {}

    std::size_t read(bytes_span into) {
        if (stopped_ != nullptr && *stopped_) throw copy_stopped{};
        auto const n = from_.read(into);
        at_ += n;
        if (at_ <= furthest_) return n;
        told_.advance(at_ - std::exchange(furthest_, at_));
        if (at_ == size_ && awaits_answer_) told_.wait();
        return n;
    }
    void rewind() {
        from_.rewind();
        at_ = 0;
    }

  private:
    R from_;
    std::uint64_t size_, at_ = 0, furthest_ = 0;
    activity& told_;
    bool awaits_answer_;
    std::atomic<bool> const* stopped_;
};

/// Puts one content, unless it is there already. Knows nothing of other contents, so that several can be
/// under way at once.
template <blob_reader_source From, image_sink To>
void copy_content(descriptor const& what, From const& from, To& to, progress_ref progress,
                  std::optional<blob_reader_of<From>> opened = std::nullopt,
                  std::atomic<bool> const* stopped = nullptr) {
    activity told{progress, "copy", what.digest.text(), what.size};
    if (!to.exists(what)) {
        auto reader = opened ? std::move(*opened) : from.reader(what.digest);
        counted_source source{verified_source{std::move(reader), what.digest, what.size}, what.size, told,
                              remote_sink<To>, stopped};
        to.put(what, source);
    }
    told.finish();
}

/// Contents on their way to a remote_sink, several at once. They set off with add(), wherever the caller is then; the
/// first failure ends them all.
template <blob_reader_source From, remote_sink To>
class background_copy {
  public:
    background_copy(From const& from, To& to, progress_ref progress)
        : from_{from}, to_{to}, progress_{progress} {}
    background_copy(background_copy const&) = delete;
    background_copy& operator=(background_copy const&) = delete;
    ~background_copy() {
        stopped_ = true;
        join();
    }

    /// `opened`: its reader, for who is about to move the content elsewhere.
    void add(descriptor what, std::optional<blob_reader_of<From>> opened = std::nullopt) {
        std::lock_guard const lock{mutex_};
        if (failure_) std::rethrow_exception(failure_); // no use in making more
        if (!added_.insert(what.digest).second) return; // on its way, or there
        waiting_.push_back({std::move(what), std::move(opened)});
        if (waiting_.size() > idle_ && workers_.size() < std::max(1U, static_cast<unsigned>(to_.transfers())))
            workers_.emplace_back([this] { work(); });
        wake_.notify_one();
    }

    /// Until all have arrived. Throws what went wrong first. Nothing can be added after it.
    void wait() {
        join();
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    struct item {
        descriptor what;
        std::optional<blob_reader_of<From>> opened;
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
            wake_.wait(lock, [this] { return complete_ || stopped_ || !waiting_.empty(); });
            --idle_;
            if (stopped_ || waiting_.empty()) return;
            auto next = std::move(waiting_.front());
            waiting_.pop_front();
            lock.unlock();
            try {
                copy_content(next.what, from_, to_, progress_, std::move(next.opened), &stopped_);
                lock.lock();
            } catch (...) {
                lock.lock();
                if (!failure_) failure_ = std::current_exception();
                stopped_ = true;
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
    std::atomic<bool> stopped_ = false;
    std::exception_ptr failure_;
};

/// Puts a manifest or index; first, once more, what a sink has lost of what belongs to it.
template <blob_reader_source From, image_sink To>
void copy_document(descriptor const& what, From const& from, To& to, progress_ref progress) {
    for (unsigned losses = 0;; ++losses) {
        try {
            return copy_content(what, from, to, progress);
        } catch (content_missing const& lost) {
            if (losses == 3) throw;
            for (auto const& child : lost.what_is_missing())
                if (is_document(child))
                    copy_document(child, from, to, progress);
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
void publish(descriptor const& root, std::span<image_name const> names, To& to) {
    if (names.empty()) to.tag(root, image_name{});
    for (auto const& name : names) to.tag(root, name);
    to.commit();
}

/// copy(), of which some contents may be under way.
template <blob_reader_source From, remote_sink To>
void finish_copy(descriptor const& root, std::span<image_name const> names, From const& from, To& to,
                 progress_ref progress, background_copy<From, To>& under_way) {
    auto const contents = contents_for(to, read_graph(root, from));
    for (auto const& what : contents)
        if (!is_document(what)) under_way.add(what);
    under_way.wait();
    for (auto const& what : contents)
        if (is_document(what)) copy_document(what, from, to, progress);
    publish(root, names, to);
}

} // namespace detail

/// Delivers the image `root` with everything that belongs to it, under `names`; without any, the sink keeps
/// it by its digest. `env.progress` hears of every content: activity "copy", the digest as subject, bytes
/// moved; none are moved of what exists. When it throws, nothing has become visible in the sink.
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
        detail::publish(root, names, to);
    }
}

} // namespace shiplap
