#pragma once
// config_changes: what a user asks of a configuration on top of the one that is given, with the effect that
// the instruction of a Dockerfile has.

#include <shiplap/image/config.hpp>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap {

struct config_changes {
    std::vector<std::string> env{}; ///< "KEY=VALUE"; replaces the value of the same key, in its place
    std::optional<std::vector<std::string>> entrypoint{}; ///< also drops the Cmd that was given; {} is none
    std::optional<std::vector<std::string>> cmd{};        ///< {} is none
    annotation_map labels{};                              ///< added to those that are there
    std::string working_dir{};                            ///< absolute; empty: as it is
    std::string user{};                                   ///< "name", "uid:gid"; empty: as it is
    std::vector<std::string> exposed_ports{}; ///< "80", "80/udp", "8000-8010/tcp"; added, tcp by default
    friend bool operator==(config_changes const&, config_changes const&) = default;
};

namespace detail {

/// An object with `name` set to `value`: in its place, or where Go would write it. A null value removes it.
inline json with_member(json const& object, std::string_view name, json const& value) {
    auto const rank = [](std::string_view member) { // 0: not one of Go's
        auto const at = std::find(run_config_names.begin(), run_config_names.end(), member);
        return at == run_config_names.end() ? 0 : at - run_config_names.begin() + 1;
    };
    auto out = empty_object();
    bool done = value.is_null();
    bool there = false;
    for (auto const& [key, old] : *object.get_ptr<json::object_t const*>()) there = there || key == name;
    for (auto const& [key, old] : *object.get_ptr<json::object_t const*>()) {
        if (!done && (there ? key == name : rank(key) > rank(name))) {
            add_member(out, name, value);
            done = true;
        }
        if (key != name) add_member(out, key, old);
    }
    if (!done) add_member(out, name, value);
    return out;
}

inline json command_json(std::vector<std::string> const& words) {
    return words.empty() ? json(nullptr) : json_texts(words);
}

inline std::vector<std::string> changed_env(std::vector<std::string> env,
                                            std::vector<std::string> const& changes) {
    auto const key_of = [](std::string_view pair) { return pair.substr(0, pair.find('=')); };
    for (auto const& change : changes) {
        auto const key = key_of(change);
        if (key.empty() || key.size() == change.size())
            throw option_error{"set environment", change, "must be KEY=VALUE"};
        auto const same =
            std::find_if(env.begin(), env.end(), [&](auto const& pair) { return key_of(pair) == key; });
        if (same != env.end())
            *same = change;
        else
            env.push_back(change);
    }
    return env;
}

/// Adds to `ports` all that a text such as "80", "80/udp" or "8000-8010/tcp" names.
inline void add_ports(std::set<std::string>& ports, std::string_view text) {
    auto const fail = [&] {
        return option_error{
            "expose port", std::string{text},
            "must be PORT or PORT-PORT, from 1 to 65535, with /tcp, /udp or /sctp or without"};
    };
    auto const number = [&](std::string_view digits) {
        unsigned value = 0;
        if (digits.empty() || digits.size() > 5) throw fail();
        for (char const c : digits) {
            if (c < '0' || '9' < c) throw fail();
            value = 10 * value + static_cast<unsigned>(c - '0');
        }
        if (value == 0 || value > 65535) throw fail();
        return value;
    };
    auto const slash = text.find('/');
    auto const protocol = slash == text.npos ? "tcp" : lower_case(text.substr(slash + 1));
    if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") throw fail();
    auto const range = text.substr(0, slash);
    auto const dash = range.find('-');
    auto const first = number(range.substr(0, dash));
    auto const last = dash == range.npos ? first : number(range.substr(dash + 1));
    if (last < first) throw fail();
    for (auto port = first; port <= last; ++port) ports.insert(std::to_string(port) + "/" + protocol);
}

} // namespace detail

/// Applies changes to a configuration and returns the new text; without changes, the same text. Members that
/// the changes do not concern stay as they are. `subject` names the text in messages. Throws option_error for
/// a change that makes no sense, format_error for a text that is no configuration.
inline std::string apply_changes(std::string_view text, std::string_view subject,
                                 config_changes const& changes) {
    if (changes == config_changes{}) return std::string{text};
    auto const document = parse_json(text, subject);
    detail::check_config(document, subject);
    json_node const root{document, subject};
    auto const given = root["config"];
    json run = given ? given.value() : detail::empty_object();
    auto const set = [&](char const* name, json const& value) {
        run = detail::with_member(run, name, value);
    };

    if (!changes.user.empty()) set("User", detail::json_text(changes.user));
    if (!changes.exposed_ports.empty()) {
        std::set<std::string> ports; // in the order in which Go writes a map
        if (auto const before = json_node{run, subject}["ExposedPorts"])
            for (auto const& [port, nothing] : before.object()) ports.insert(port);
        for (auto const& port : changes.exposed_ports) detail::add_ports(ports, port);
        auto value = detail::empty_object();
        for (auto const& port : ports) detail::add_member(value, port, detail::empty_object());
        set("ExposedPorts", value);
    }
    if (!changes.env.empty())
        set("Env",
            detail::json_texts(detail::changed_env(json_node{run, subject}["Env"].texts(), changes.env)));
    if (changes.entrypoint) {
        set("Entrypoint", detail::command_json(*changes.entrypoint));
        set("Cmd", nullptr); // it was meant for the other entry point
    }
    if (changes.cmd) set("Cmd", detail::command_json(*changes.cmd));
    if (!changes.working_dir.empty()) {
        if (!changes.working_dir.starts_with('/') && root.text_of("os") != "windows")
            throw option_error{"set working directory", changes.working_dir, "must be an absolute path"};
        set("WorkingDir", detail::json_text(changes.working_dir));
    }
    if (!changes.labels.empty()) {
        auto labels = changes.labels; // wins over those that are there
        if (labels.contains("")) throw option_error{"set label", "=" + labels[""], "must be KEY=VALUE"};
        if (auto const before = json_node{run, subject}["Labels"])
            for (auto const& [key, value] : before.object())
                labels.emplace(key, *value.get_ptr<json::string_t const*>());
        set("Labels", detail::to_json(labels));
    }

    auto members = detail::split_members(text);
    members["config"] = compact(run);
    return detail::join_members(members);
}

} // namespace shiplap
