#pragma once
// Threads: one for each port, one for each connection. All are ended and joined by stop().

#include <algorithm>
#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include <support/registry/core.hpp>
#include <support/registry/service.hpp>
#include <support/registry/socket.hpp>

namespace registry_test {

class server {
  public:
    explicit server(core& shared) : core_{shared} {
        main_ = std::thread{[this] { accept_from(core_.main_port, false); }};
        other_ = std::thread{[this] { accept_from(core_.other_port, true); }};
    }
    server(server const&) = delete;
    server& operator=(server const&) = delete;
    ~server() { stop(); }

    void stop() {
        {
            std::scoped_lock const lock{core_.mutex};
            if (std::exchange(core_.stopping, true)) return;
            core_.changed.notify_all();
        }
        core_.main_port.stop();
        core_.other_port.stop();
        main_.join();
        other_.join();
        hang_up();
        for (auto& one : workers_) one.thread.join();
        workers_.clear();
    }
    /// Ends all connections, as a restart of the registry does.
    void hang_up() {
        std::scoped_lock const lock{mutex_};
        for (auto const& one : workers_)
            if (!one.done) one.peer->interrupt();
    }

  private:
    struct worker {
        explicit worker(int fd) : peer{std::make_unique<connection>(fd)} {}
        std::unique_ptr<connection> peer;
        std::atomic<bool> done = false;
        std::thread thread{};
    };
    core& core_;
    std::mutex
        mutex_; ///< guards workers_ against hang_up(), and the sockets therein against being closed under it
    std::list<worker> workers_;
    std::thread main_;
    std::thread other_;

    void accept_from(listener const& port, bool is_other) {
        while (auto const fd = port.accept()) {
            std::size_t id = 0;
            {
                std::scoped_lock const lock{core_.mutex};
                if (!is_other) ++core_.connections;
                id = static_cast<std::size_t>(++core_.last_id);
            }
            std::scoped_lock const lock{mutex_};
            for (auto at = workers_.begin(); at != workers_.end();)
                at = at->done ? (at->thread.join(), workers_.erase(at)) : std::next(at);
            auto& one = workers_.emplace_back(*fd);
            one.thread = std::thread{[this, &one, is_other, id] { work(one, is_other, id); }};
        }
    }
    void work(worker& one, bool is_other, std::size_t id) {
        while (serve_next(core_, *one.peer, is_other, id)) {
        }
        std::scoped_lock const lock{mutex_};
        one.peer.reset(); // closed now, not when it is swept up
        one.done = true;
    }
};

} // namespace registry_test
