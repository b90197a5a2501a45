#pragma once
// An HTTPS server on 127.0.0.1, another process, that answers every GET with "hello"; and certificates for it.

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

/// Makes path.cert and path.key, self-signed, for 127.0.0.1 or what else is asked for; false if openssl is missing.
inline bool make_certificate(std::string const& path,
                             std::string const& names = "IP:127.0.0.1,DNS:localhost") {
    auto const command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
                         "-subj /CN=test -addext subjectAltName=" +
                         names + " -keyout '" + path + ".key' -out '" + path + ".cert' >/dev/null 2>&1";
    return std::system(command.c_str()) == 0; // NOLINT(cert-env33-c): a test's own words
}

class tls_server {
  public:
    /// Shows path.cert; wants a certificate that `clients`, a PEM file, has signed, unless that is empty.
    explicit tls_server(std::string const& path, std::string const& clients = {}) {
        static char const script[] = R"(
import http.server, ssl, sys
class handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *_): pass
class server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_): pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + ".cert", sys.argv[1] + ".key")
if sys.argv[2]:
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(sys.argv[2])
serving = server(("127.0.0.1", 0), handler)
serving.socket = context.wrap_socket(serving.socket, server_side=True)
print(serving.server_address[1], flush=True)
serving.serve_forever()
)";
        std::array<int, 2> ends{};
        if (::pipe(ends.data()) != 0) throw shiplap::system_error{"pipe", "", errno};
        shiplap::unique_fd const from{ends[0]};
        shiplap::unique_fd to{ends[1]};
        ::posix_spawn_file_actions_t actions{};
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, to.get(), 1);
        ::posix_spawn_file_actions_addclose(&actions, from.get());
        std::vector<std::string> words{"python3", "-c", script, path, clients};
        std::vector<char*> arguments;
        for (auto& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        auto const failed = ::posix_spawnp(&pid_, "python3", &actions, nullptr, arguments.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        if (failed != 0) throw shiplap::system_error{"start", "python3", failed};
        to = shiplap::unique_fd{};
        for (char c = '\0'; ::read(from.get(), &c, 1) == 1 && c != '\n';) port_ += c;
    }
    tls_server(tls_server const&) = delete;
    tls_server& operator=(tls_server const&) = delete;
    ~tls_server() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }

    [[nodiscard]] std::string authority() const { return "127.0.0.1:" + port_; }
    [[nodiscard]] std::string address() const { return "https://" + authority() + "/"; }

  private:
    ::pid_t pid_ = 0;
    std::string port_;
};
