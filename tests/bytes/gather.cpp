#include <shiplap/bytes/gather.hpp>

#include "support/catch.hpp"

#include <random>
#include <vector>

using namespace shiplap;

namespace {

struct counting_sink {
    std::vector<std::size_t> sizes;
    std::string text;
    void write(bytes_view in) {
        sizes.push_back(in.size());
        text.append(as_text(in));
    }
};

static_assert(byte_stage<gather>);

} // namespace

TEST_CASE("gather keeps bytes and order, and writes in large pieces", "[gather]") {
    std::mt19937 random{7};
    for (int round = 0; round < 20; ++round) {
        gather stage;
        counting_sink out;
        std::string all;
        for (int i = 0; i < 200; ++i) {
            auto const size = random() % (i % 10 == 0 ? transfer_size * 2 : 2000);
            std::string const piece(size, static_cast<char>('a' + i % 26));
            stage.write(as_bytes(piece), out);
            all += piece;
        }
        stage.finish(out);
        CHECK(out.text == all);
        CHECK(out.sizes.size() < 100);
    }
}

TEST_CASE("gather writes nothing for nothing", "[gather]") {
    gather stage;
    counting_sink out;
    stage.write({}, out);
    stage.finish(out);
    CHECK(out.sizes.empty());
}

TEST_CASE("gather passes a large write on without a copy, after what came before", "[gather]") {
    gather stage;
    std::string const large(transfer_size, 'L');
    struct {
        std::vector<std::byte const*> starts;
        void write(bytes_view in) { starts.push_back(in.data()); }
    } out;
    stage.write(as_bytes("small"), out);
    stage.write(as_bytes(large), out);
    REQUIRE(out.starts.size() == 2);
    CHECK(out.starts[1] == as_bytes(large).data());
}
