#pragma once
// platform: what an image runs on, as the registered values of Go: "linux/amd64", "linux/arm/v7" (image-spec,
// image-index.md, "platform").
//
// People and kernels use other names for the same things (x86_64, aarch64, armhf, macos); parse_platform()
// and normalised() bring them to one form by the rules of containerd's platforms package, so that equal
// platforms compare equal.

#include <shiplap/error.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/json_node.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include <sys/utsname.h>

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
