#pragma once
// A fresh directory that goes away with its owner.

#include <shiplap/error.hpp>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>

class temp_dir {
  public:
    temp_dir() {
        auto pattern = (std::filesystem::temp_directory_path() / "shiplap-test-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw shiplap::system_error{"mkdtemp", pattern, errno};
        path_ = pattern;
    }
    temp_dir(temp_dir const&) = delete;
    temp_dir& operator=(temp_dir const&) = delete;
    ~temp_dir() {
        std::error_code ignored; // a test that failed may have left anything
        std::filesystem::remove_all(path_, ignored);
    }

    [[nodiscard]] std::filesystem::path const& path() const noexcept { return path_; }
    /// A path inside, as a string.
    [[nodiscard]] std::string operator/(std::string const& name) const { return (path_ / name).string(); }

  private:
    std::filesystem::path path_;
};
