#pragma once
// How shiplap tells what it is doing: a progress_observer is anything that can be called with a
// progress_event.
//
//     auto observer = [](progress_event const& event) { std::cerr << event.subject << '\n'; };
//
// Events of one activity share an `id` and come in order: started, advanced (any number), waiting (perhaps), finished; an
// activity that fails gets no `finished`, the exception tells. Activities may run on several threads at once:
// an observer that keeps state guards it. Models: no_progress.

#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

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
