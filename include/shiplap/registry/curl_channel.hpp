#pragma once
// curl_channel: a libcurl handle with the connection it has made. It serves one origin under one set of rules for all
// its life, so that no request ever travels over a connection that was opened under laxer rules.

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>
#include <shiplap/registry/address.hpp>
#include <shiplap/registry/certificates.hpp>
#include <shiplap/registry/curl_proxy.hpp>
#include <shiplap/registry/url.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <curl/curl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace shiplap::detail {

/// libcurl's own set-up, once for the process.
inline void start_curl() {
    static CURLcode const started = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (started != CURLE_OK)
        throw error{error_code::network, "start libcurl", "", curl_easy_strerror(started)};
}

/// libcurl reads its options' values through "...": types must be exact.
template <class V>
void set_option(CURL* easy, CURLoption option, V value) {
    static_assert(std::is_pointer_v<V> || std::is_same_v<V, long> || std::is_same_v<V, curl_off_t>);
    // Parentheses: not the macro, which wants to know the option when it is compiled.
    if (auto const result = (curl_easy_setopt)(easy, option, value); result != CURLE_OK)
        throw error{error_code::network, "set libcurl option", std::to_string(option),
                    curl_easy_strerror(result)};
}

/// The system's authorities: what SSL_CERT_FILE and SSL_CERT_DIR say, as for OpenSSL's and Go's programs, or what
/// libcurl was built with. Empty: none.
struct system_store {
    std::string file, folder;

    static system_store find() {
        auto const* const built = curl_version_info(CURLVERSION_NOW);
        system_store store{variable({"SSL_CERT_FILE"}), variable({"SSL_CERT_DIR"})};
        bool const chosen = !store.file.empty() || !store.folder.empty();
        if (!chosen && built->cainfo != nullptr) store.file = built->cainfo;
        if (!chosen && built->capath != nullptr) store.folder = built->capath;
        return store;
    }
};

/// What a connection may be shared by.
struct curl_key {
    origin to;
    bool insecure = false; ///< certificates are not verified
    bool guarded = false;  ///< only public addresses
    friend bool operator==(curl_key const&, curl_key const&) = default;
};

class curl_channel {
  public:
    explicit curl_channel(curl_key key, host_certificates const& certificates = {})
        : key_{std::move(key)}, store_{system_store::find()} {
        start_curl();
        easy_.reset(curl_easy_init());
        multi_.reset(curl_multi_init());
        if (!easy_ || !multi_) throw std::bad_alloc{};
        if (!certificates.clients.empty()) client_ = certificates.clients.front();
        for (auto const& path : certificates.authorities)
            authorities_ += read_file(path, most_authorities) + "\n";
        // libcurl takes one or the other.
        if (!authorities_.empty() && !store_.file.empty() && ::access(store_.file.c_str(), R_OK) == 0)
            authorities_ += read_file(store_.file, most_authorities);
    }
    // libcurl has its address.
    curl_channel(curl_channel const&) = delete;
    curl_channel& operator=(curl_channel const&) = delete;
    ~curl_channel() {
        leave();
        easy_.reset();
        multi_.reset(); // closes connections, and tells close_socket()
    }

    [[nodiscard]] curl_key const& key() const noexcept { return key_; }
    [[nodiscard]] CURL* easy() const noexcept { return easy_.get(); }
    [[nodiscard]] CURLM* multi() const noexcept { return multi_.get(); }
    /// The address that a guarded channel would not connect to; empty if there was none since prepare().
    [[nodiscard]] std::string const& refused() const noexcept { return refused_; }

    /// Forgets the last request's options, and sets those that all have in common.
    void prepare() {
        auto* const easy = easy_.get();
        refused_.clear();
        curl_easy_reset(easy);
        set_option(easy, CURLOPT_NOSIGNAL, 1L);
        set_option(easy, CURLOPT_NOPROGRESS, 1L);
        set_option(easy, CURLOPT_PROTOCOLS_STR, "http,https");
        set_option(easy, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
        set_option(easy, CURLOPT_TCP_KEEPALIVE, 1L);
        set_option(easy, CURLOPT_BUFFERSIZE, 256L * 1024);
        set_option(easy, CURLOPT_UPLOAD_BUFFERSIZE, 512L * 1024); // more is not faster
        set_option(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
        set_option(easy, CURLOPT_HEADEROPT, long{CURLHEADER_SEPARATE}); // a proxy gets no credentials
        // Many servers never say "100 Continue"; those that refuse do so at once.
        set_option(easy, CURLOPT_EXPECT_100_TIMEOUT_MS, 300L);
        set_option(easy, CURLOPT_OPENSOCKETFUNCTION, &open_socket);
        set_option(easy, CURLOPT_OPENSOCKETDATA, static_cast<void*>(this));
        set_option(easy, CURLOPT_CLOSESOCKETFUNCTION, &close_socket);
        set_option(easy, CURLOPT_CLOSESOCKETDATA, static_cast<void*>(this));
        if (key_.to.is_https()) prepare_tls();
    }

    void join() { check(curl_multi_add_handle(multi_.get(), easy_.get())); }
    /// Ends the request, with its connection if it was not at its end. The options, with their pointers, are forgotten.
    void leave() noexcept {
        curl_multi_remove_handle(multi_.get(), easy_.get());
        curl_easy_reset(easy_.get());
    }
    void perform() {
        int running = 0;
        check(curl_multi_perform(multi_.get(), &running));
    }
    void wait(std::chrono::milliseconds at_most) {
        check(curl_multi_poll(multi_.get(), nullptr, 0, static_cast<int>(at_most.count()), nullptr));
    }

    /// Bytes that the kernel has taken, and the other side has not.
    [[nodiscard]] std::uint64_t unsent() const noexcept {
        std::uint64_t sum = 0;
        for (auto const socket : sockets_)
            if (int pending = 0; ::ioctl(socket, SIOCOUTQ, &pending) == 0)
                sum += static_cast<std::uint64_t>(pending);
        return sum;
    }
    /// Whether something has arrived that libcurl has not seen.
    [[nodiscard]] bool readable() const noexcept {
        return std::ranges::any_of(sockets_, [](curl_socket_t socket) {
            ::pollfd one{socket, POLLIN, 0};
            return ::poll(&one, 1, 0) > 0;
        });
    }

  private:
    static constexpr std::uint64_t most_authorities = 16U << 20; // bytes in a file; the system's has 0.2 MB

    static void check(CURLMcode result) {
        if (result != CURLM_OK)
            throw error{error_code::network, "run libcurl", "", curl_multi_strerror(result)};
    }

    void prepare_tls() {
        auto* const easy = easy_.get();
        if (key_.insecure) {
            set_option(easy, CURLOPT_SSL_VERIFYPEER, 0L);
            set_option(easy, CURLOPT_SSL_VERIFYHOST, 0L);
        }
        set_option(easy, CURLOPT_CAPATH, store_.folder.empty() ? nullptr : store_.folder.c_str());
        if (authorities_.empty()) {
            set_option(easy, CURLOPT_CAINFO, store_.file.empty() ? nullptr : store_.file.c_str());
        } else {
            ::curl_blob blob{authorities_.data(), authorities_.size(), CURL_BLOB_NOCOPY};
            set_option(easy, CURLOPT_CAINFO_BLOB, &blob);
        }
        if (client_.certificate.empty()) return;
        set_option(easy, CURLOPT_SSLCERT, client_.certificate.c_str());
        set_option(easy, CURLOPT_SSLKEY, client_.key.c_str());
    }

    static curl_socket_t open_socket(void* self, curlsocktype, ::curl_sockaddr* to) noexcept {
        auto& channel = *static_cast<curl_channel*>(self);
        try {
            if (channel.key_.guarded && !channel.allows(*to)) return CURL_SOCKET_BAD;
            channel.sockets_.reserve(channel.sockets_.size() + 1);
            auto const socket = ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
            if (socket < 0) return CURL_SOCKET_BAD;
            channel.sockets_.push_back(socket);
            return socket;
        } catch (...) { // out of memory
            return CURL_SOCKET_BAD;
        }
    }
    static int close_socket(void* self, curl_socket_t socket) noexcept {
        std::erase(static_cast<curl_channel*>(self)->sockets_, socket);
        return ::close(socket);
    }

    bool allows(::curl_sockaddr const& to) {
        auto const address = ip_address::of(to.addr);
        if (address && (address->is_public() || is_proxy(key_.to, to.addr))) return true;
        refused_ = address ? address->text() : "an unknown kind of address";
        return false;
    }

    struct cleanup {
        void operator()(CURL* handle) const noexcept { curl_easy_cleanup(handle); }
    };
    struct multi_cleanup {
        void operator()(CURLM* handle) const noexcept { curl_multi_cleanup(handle); }
    };

    curl_key key_;
    system_store store_;
    client_certificate client_;
    std::string authorities_; // PEM; empty: the system's are enough
    std::string refused_;
    std::vector<curl_socket_t> sockets_; // open ones
    std::unique_ptr<CURL, cleanup> easy_;
    std::unique_ptr<CURLM, multi_cleanup> multi_;
};

} // namespace shiplap::detail
