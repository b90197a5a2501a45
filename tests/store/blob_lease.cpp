#include <shiplap/store/blob_lease.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"

#include <optional>

using namespace shiplap;
namespace fs = std::filesystem;

TEST_CASE("a blob with a lease is not removed", "[blob_lease]") {
    temp_dir const tmp;
    auto const path = tmp / "blob";
    write_file(path, "content");
    std::optional<file_reader> one{path}, other{path};
    CHECK(detail::lease_blob(*one));
    CHECK(detail::lease_blob(*other)); // leases do not exclude each other
    CHECK_FALSE(detail::remove_unleased(path, false));
    CHECK(fs::exists(path));
    one.reset();
    CHECK_FALSE(detail::remove_unleased(path, false));
    other.reset();
    CHECK(detail::remove_unleased(path, true));
    CHECK(fs::exists(path));
    CHECK(detail::remove_unleased(path, false));
    CHECK_FALSE(fs::exists(path));
}

TEST_CASE("a blob that is gone has no lease", "[blob_lease]") {
    temp_dir const tmp;
    write_file(tmp / "blob", "content");
    file_reader const open{tmp / "blob"};
    CHECK(detail::remove_unleased(tmp / "blob", false));
    CHECK_FALSE(detail::lease_blob(open));
    CHECK_THROWS_AS(detail::remove_unleased(tmp / "blob", false), system_error);
}
