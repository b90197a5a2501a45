#pragma once
// config: the document that tells how to run an image and what its layers unpack to (image-spec, config.md).
//
// A configuration is text in and text out. Its owner may have put anything in it, and all of that stays as it
// was written, to the digit and the escape sequence; only `rootfs`, `history` and `created`, which speak of
// the layers, are made anew. The result is compact with its top-level names in byte order, as BuildKit writes
// it.

#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/history.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/json_node.hpp>
#include <shiplap/image/layer_blob.hpp>
#include <shiplap/image/platform.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap {

/// What shiplap reads of a configuration.
struct image_config {
    shiplap::platform platform{}; ///< as written, not normalised
    std::optional<zoned_time> created{};
    std::vector<digest> diff_ids{}; ///< of the layers, bottom first
    std::vector<history_entry> history{};
    friend bool operator==(image_config const&, image_config const&) = default;
};

namespace detail {

inline constexpr std::array<std::string_view, 10> config_names{
    "architecture", "author",      "config",     "created", "history",
    "os",           "os.features", "os.version", "rootfs",  "variant"};

/// The members of "config" in Go's order.
inline constexpr std::array<std::string_view, 13> run_config_names{
    "User",   "ExposedPorts", "Env",         "Entrypoint",  "Cmd",     "Volumes", "WorkingDir",
    "Labels", "StopSignal",   "ArgsEscaped", "Healthcheck", "OnBuild", "Shell"};

/// Refuses a member whose name differs only in case from one of `names`: Go would take it for that one.
inline void check_case(json_node const& node, std::span<std::string_view const> names) {
    std::map<std::string, std::string> right;
    for (auto const name : names) right.emplace(fold_name(name), name);
    for (auto const& [key, value] : node.object()) {
        auto const found = right.find(fold_name(key));
        if (found != right.end() && found->second != key)
            node.refuse("has a member \"" + key + "\", must be written \"" + found->second + "\"");
    }
}

/// Checks the types of all members that the specification has, and that the two indispensable ones are there.
inline void check_config(json const& document, std::string_view subject) {
    json_node const root{document, subject};
    auto const fail = [&](std::string reason) {
        throw format_error{"read image config", std::string{subject}, std::move(reason)};
    };
    auto const good = [](auto const&) {}; // reading was the check
    if (!root) fail("invalid null image config for export");
    check_case(root, config_names);
    for (auto const* name : {"os", "architecture", "variant", "os.version", "author"})
        good(root.text_of(name));
    bool const has_os = !root.text_of("os").empty(), has_architecture = !root.text_of("architecture").empty();
    if (!has_os && !has_architecture)
        fail("invalid image config for export: missing os, and missing architecture");
    if (!has_os || !has_architecture)
        fail(std::string{"invalid image config for export: missing "} + (has_os ? "architecture" : "os") +
             "; invalid image config: os and architecture must be specified together");
    good(root["os.features"].texts());
    good(read_time(root["created"]));
    good(read_history(root["history"]));

    auto const run = root["config"];
    if (!run) return;
    check_case(run, run_config_names);
    for (auto const* name : {"User", "WorkingDir", "StopSignal"}) good(run.text_of(name));
    for (auto const* name : {"Env", "Entrypoint", "Cmd"}) good(run[name].texts());
    for (auto const* name : {"ExposedPorts", "Volumes", "Labels"})
        if (auto const set = run[name]) good(set.object());
    if (auto const labels = run["Labels"])
        for (auto const& [key, value] : labels.object())
            if (!value.is_string()) labels.refuse("the value of \"" + key + "\" must be a string");
}

/// Valid JSON without the spaces between its tokens and with Go's escapes; everything else stays.
inline std::string compact_text(std::string_view valid) {
    std::string out;
    bool quoted = false;
    for (std::size_t i = 0; i < valid.size(); ++i) {
        char const c = valid[i];
        if (quoted && c == '\\') {
            out += c;
            out += valid[++i];
            continue;
        }
        if (c == '"') quoted = !quoted;
        if (quoted || (c != ' ' && c != '\t' && c != '\n' && c != '\r')) out += c;
    }
    return escape_html(out);
}

/// The members of an object that is not read further: names with the texts of their values, in byte order.
using raw_members = std::map<std::string, std::string>;

/// Cuts the text of an object, which parse_json() has accepted, into its members.
inline raw_members split_members(std::string_view valid) {
    auto const text = compact_text(valid);
    raw_members out;
    std::size_t start = 1, depth = 0, colon = 0;
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        char const c = text[i];
        if (quoted) {
            if (c == '\\') ++i;
            quoted = c != '"';
            continue;
        }
        quoted = c == '"';
        if (c == '{' || c == '[') ++depth;
        if (c == ':' && depth == 1 && colon == 0) colon = i;
        if ((c == ',' || c == '}') && depth == 1 && colon != 0) {
            auto const name = parse_json(std::string_view{text}.substr(start, colon - start), "a name");
            out.emplace(*name.get_ptr<json::string_t const*>(), text.substr(colon + 1, i - colon - 1));
            start = i + 1;
            colon = 0;
        }
        if (c == '}' || c == ']') --depth;
    }
    return out;
}

inline std::string join_members(raw_members const& members) {
    std::string out = "{";
    for (auto const& [name, value] : members) {
        if (out.size() > 1) out += ',';
        out += compact(json_text(name)) + ":" + value;
    }
    return out + "}";
}

inline json rootfs_json(std::span<digest const> diff_ids) {
    json ids(diff_ids.empty() ? json::value_t::null : json::value_t::array); // as Go writes them
    for (auto const& id : diff_ids) add_item(ids, json_text(id.text()));
    auto out = empty_object();
    add_text(out, "type", "layers");
    add_member(out, "diff_ids", std::move(ids));
    return out;
}

/// Whether the diff_ids of a configuration are those of `layers`.
inline bool is_config_of(json_node const& root, std::span<layer_blob const> layers) {
    auto const rootfs = root["rootfs"];
    if (!rootfs) return false;
    auto const ids = rootfs["diff_ids"].texts();
    return std::equal(ids.begin(), ids.end(), layers.begin(), layers.end(),
                      [](auto const& id, layer_blob const& layer) { return id == layer.diff_id.text(); });
}

} // namespace detail

/// The configuration of an image for which none is given: the platform, "/" as working directory, and a PATH
/// (not on Windows).
inline std::string default_config(platform const& where) {
    auto run = detail::empty_object();
    if (where.os != "windows")
        detail::add_member(
            run, "Env",
            detail::json_texts({"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}));
    detail::add_text(run, "WorkingDir", "/");
    auto out = to_json(where);
    detail::add_member(out, "config", std::move(run));
    detail::add_member(out, "rootfs", detail::rootfs_json({}));
    return compact(out);
}

/// The platform that a configuration is for, which need not have any layers yet. Throws format_error.
inline platform platform_of_config(std::string_view text, std::string_view subject) {
    auto const document = parse_json(text, subject);
    detail::check_config(document, subject);
    return read_platform({document, subject});
}

/// Reads the configuration of an image. Throws format_error.
inline image_config read_config(std::string_view text, std::string_view subject) {
    auto const document = parse_json(text, subject);
    detail::check_config(document, subject);
    json_node const root{document, subject};

    image_config out{.platform = read_platform(root),
                     .created = detail::read_time(root["created"]),
                     .history = read_history(root["history"])};
    auto const rootfs = root["rootfs"];
    if (rootfs["type"].text() != "layers") rootfs["type"].refuse("must be \"layers\"");
    auto const ids = rootfs["diff_ids"];
    for (std::size_t i = 0; i < ids.length(); ++i) out.diff_ids.push_back(detail::read_digest(ids.item(i)));
    return out;
}

/// What an image with more layers inherits from the configuration of its base: all that image-spec knows but
/// `created`. The rest speaks of how the base was built, as Docker's "container_config" does, and BuildKit
/// drops it too.
inline std::string inherited_config(std::string_view base, std::string_view subject) {
    auto const document = parse_json(base, subject);
    detail::check_config(document, subject);
    auto members = detail::split_members(base);
    std::erase_if(members, [](auto const& member) {
        auto const& names = detail::config_names;
        return member.first == "created" ||
               std::find(names.begin(), names.end(), member.first) == names.end();
    });
    return detail::join_members(members);
}

/// Makes a configuration that fits `layers` (bottom first) out of one that was given: `rootfs` from their
/// diff_ids, `history` normalised and, with an epoch (seconds since 1970), clamped to it. `created` is
/// clamped if it is there, otherwise it is the time of the last history entry. Appends what the user should
/// know to `warnings`. `subject` names the text in messages. Throws format_error.
///
/// With the history of a base image, be it empty, the text is that of an image. No epoch changes what it has of
/// the base; and if it fits the layers already, for none was added, it stays as it is written, but for later
/// times: so does the name that Docker has for the image.
inline std::string finish_config(std::string_view text, std::string_view subject,
                                 std::span<layer_blob const> layers, timestamp now,
                                 std::optional<std::int64_t> epoch, std::vector<std::string>& warnings,
                                 std::optional<std::span<history_entry const>> base_history = {}) {
    auto const document = parse_json(text, subject);
    detail::check_config(document, subject);
    json_node const root{document, subject};

    auto const given = detail::read_time(root["created"]);
    bool const too_late = given && epoch && given->at > timestamp{*epoch, 0};
    auto history = read_history(root["history"]);
    auto base = base_history.value_or(std::span<history_entry const>{});
    auto const own = std::mismatch(history.begin(), history.end(), base.begin(), base.end()).first;
    base = base.first(static_cast<std::size_t>(own - history.begin()));
    bool const fits = base_history && detail::is_config_of(root, layers) &&
                      std::none_of(own, history.end(), [&](history_entry const& entry) {
                          return epoch && entry.created && entry.created->at > timestamp{*epoch, 0};
                      });
    if (fits && !too_late) return std::string{text};

    auto members = detail::split_members(text);
    if (too_late) members["created"] = compact(detail::json_text(format_rfc3339(timestamp{*epoch, 0})));
    if (fits) return detail::join_members(members);

    normalise_history(history, layers, now, warnings);
    if (epoch) clamp_history(history, *epoch, base);

    std::vector<digest> diff_ids;
    for (auto const& layer : layers) diff_ids.push_back(layer.diff_id);
    members["rootfs"] = compact(detail::rootfs_json(diff_ids));
    members["history"] = history.empty() && !root["history"] ? "null" : compact(to_json(history));
    if (!root.has("created")) {
        json last(nullptr);
        for (auto const& entry : history)
            if (entry.created) last = detail::json_text(format_rfc3339(*entry.created));
        members["created"] = compact(last);
    }
    return detail::join_members(members);
}

} // namespace shiplap
