#pragma once
// Ctrl-C as an exception: a signal is noted, and whoever works looks at the note and throws, so that every unfinished
// output takes back what it has made on the way out. Looked at with every progress event, every piece of a layer and
// every piece read from an image or a pipe.
//
// SIGKILL leaves no time for that. Unfinished archives and layouts vanish all the same, for they are files without a
// name; of an extraction a hidden directory .shiplap-* stays beside the destination, to be removed by hand.

#include <shiplap/bytes/file.hpp>
#include <shiplap/layer/any.hpp>
#include <shiplap/store/concept.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

namespace shiplap_command {

struct interrupted {
    int signal;
};

/// Until interruptible work begins, SIGINT, SIGTERM and SIGHUP end the process at once; so does the second one.
void handle_signals();

/// From now on there may be something to take back.
void begin_interruptible_work();

/// Throws interrupted if a signal came.
void check_interrupted();

/// A pipe or standard input as a byte_source whose waiting a signal ends.
class interruptible_input {
  public:
    interruptible_input(shiplap::unique_fd fd, std::string name)
        : fd_{std::move(fd)}, from_{fd_.get(), std::move(name)} {}
    std::size_t read(shiplap::bytes_span into);

  private:
    shiplap::unique_fd fd_;
    shiplap::stream_reader from_;
};

/// A layer source, interruptible.
class interruptible_layer {
  public:
    explicit interruptible_layer(shiplap::any_layer_source layer) : layer_{std::move(layer)} {}

    template <shiplap::byte_sink Out>
    void write_tar(Out& out, shiplap::layer_context const& context) const {
        checked_sink<Out> checked{out};
        layer_.write_tar(checked, context);
    }
    [[nodiscard]] std::uint64_t estimated_size() const { return layer_.estimated_size(); }
    [[nodiscard]] std::string description() const { return layer_.description(); }

  private:
    template <shiplap::byte_sink Out>
    struct checked_sink {
        Out& out;
        void write(shiplap::bytes_view in) {
            check_interrupted();
            out.write(in);
        }
    };

    shiplap::any_layer_source layer_;
};

/// A blob_reader_source, interruptible. Hands out pieces of at most `piece` bytes: small ones for who makes much of them,
/// as of a few packed bytes thousands of files.
template <shiplap::blob_reader_source Store>
class interruptible_store {
  public:
    static constexpr bool is_remote = shiplap::remote_source<Store>;

    interruptible_store(Store const& from, std::size_t piece) : from_{from}, piece_{piece} {}

    [[nodiscard]] bool contains(shiplap::digest const& which) const { return from_.contains(which); }
    [[nodiscard]] auto reader(shiplap::digest const& which) const {
        check_interrupted();
        return checked_source{from_.reader(which), piece_};
    }

  private:
    struct checked_source {
        shiplap::blob_reader_of<Store> from;
        std::size_t piece;
        std::size_t read(shiplap::bytes_span into) {
            check_interrupted();
            return from.read(into.first(std::min(into.size(), piece)));
        }
        void rewind() { from.rewind(); }
    };

    Store const& from_;
    std::size_t piece_;
};

} // namespace shiplap_command
