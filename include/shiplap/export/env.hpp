#pragma once
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

#include <shiplap/bytes/executor.hpp>
#include <shiplap/bytes/progress.hpp>
#include <shiplap/sink/concept.hpp>
#include <shiplap/sink/push_target.hpp>
#include <shiplap/tar/timestamps.hpp>

#include <memory>

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
