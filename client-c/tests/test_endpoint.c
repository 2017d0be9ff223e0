/* Where the endpoint comes from, and endpoint files that are missing, stale, foreign or damaged. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static peer server;
static const char *file;

/* A client without an endpoint of its own. */
static anomalyd_client *open_by_environment(int32_t connect_timeout_ms)
{
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client;
    options.run = "run_a";
    options.timeout_ms = 5000;
    options.connect_timeout_ms = connect_timeout_ms;
    CHECK_STATUS(anomalyd_open(&options, &client), ANOMALYD_OK);
    return client;
}

/* What a new client says of the endpoint file; `words` are looked for in its last error. */
static void expect(anomalyd_status status, const char *words)
{
    anomalyd_client *client = open_by_environment(100);
    double begin = check_now_ms();
    CHECK_STATUS(anomalyd_ping(client), status);
    CHECK(check_now_ms() - begin < 1000);
    CHECK_SAYS(anomalyd_last_error(client), words);
    anomalyd_close(client);
}

/* Writes an endpoint file; a NULL value leaves its line out. */
static void write_file(const char *protocol, const char *host, const char *pid, const char *boot_id,
                       const char *service)
{
    char text[2048], name[256];
    size_t used = 0;
    struct {
        const char *key, *value;
    } lines[] = {{"protocol", protocol}, {"service", service},     {"control", "ipc:///nowhere"},
                 {"instance", "x"},      {"host", host},           {"pid", pid},
                 {"boot_id", boot_id},   {"server_public_key", ""}};
    size_t idx;
    (void)gethostname(name, sizeof name);
    for (idx = 0; idx < sizeof lines / sizeof lines[0]; ++idx)
        if (lines[idx].value != NULL)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s=%s\n", lines[idx].key,
                                     strcmp(lines[idx].value, "HERE") == 0 ? name : lines[idx].value);
    check_write(file, text);
}

static const char *own_pid(void)
{
    static char pid[24];
    (void)snprintf(pid, sizeof pid, "%ld", (long)getpid());
    return pid;
}

static void argument_goes_before_variable_before_file(void)
{
    anomalyd_verdict verdict;
    anomalyd_client *client;
    (void)setenv("ANOMALYD_ENDPOINT", "ipc:///tmp/anomalyd-nobody.sock", 1);
    client = open_at(server.endpoint, 3000, ANOMALYD_FAIL_OPEN);
    CHECK_STATUS(anomalyd_classify(client, 1, "/ok", &verdict), ANOMALYD_OK);
    anomalyd_close(client);
    (void)setenv("ANOMALYD_ENDPOINT", server.endpoint, 1);
    (void)setenv("ANOMALYD_ENDPOINT_FILE", check_path("absent"), 1);
    expect(ANOMALYD_OK, "");
    (void)setenv("ANOMALYD_ENDPOINT", "", 1); /* as if it were not set */
    expect(ANOMALYD_UNAVAILABLE, "no endpoint file");
    (void)unsetenv("ANOMALYD_ENDPOINT");
    (void)setenv("ANOMALYD_ENDPOINT_FILE", file, 1);
    write_file("ANOM1", "HERE", own_pid(), "", server.endpoint);
    expect(ANOMALYD_OK, "");
}

static void stale_file_is_refused_by_name(void)
{
    char pid[24];
    pid_t gone = fork();
    if (gone == 0)
        _exit(0);
    (void)waitpid(gone, NULL, 0);
    (void)snprintf(pid, sizeof pid, "%ld", (long)gone);
    write_file("ANOM1", "HERE", pid, "", server.endpoint);
    expect(ANOMALYD_STALE_ENDPOINT, file);
    expect(ANOMALYD_STALE_ENDPOINT, "is gone");
    write_file("ANOM1", "HERE", own_pid(), "00000000-0000-0000-0000-000000000000", server.endpoint);
    expect(ANOMALYD_STALE_ENDPOINT, "node was restarted");
    write_file("ANOM1", "HERE", own_pid(), NULL, server.endpoint);
    expect(ANOMALYD_OK, "");
}

static void file_that_cannot_be_used_is_refused_by_name(void)
{
    char longer[200] = "ipc:///", *many;
    write_file("ANOM2", "HERE", own_pid(), "", server.endpoint);
    expect(ANOMALYD_STALE_ENDPOINT, "\"ANOM2\"");
    write_file(NULL, "HERE", own_pid(), "", server.endpoint);
    expect(ANOMALYD_STALE_ENDPOINT, "protocol is \"\"");
    write_file("ANOM1", "HERE", own_pid(), "", NULL);
    expect(ANOMALYD_STALE_ENDPOINT, "no key service");
    write_file("ANOM1", NULL, own_pid(), "", server.endpoint);
    expect(ANOMALYD_STALE_ENDPOINT, "no key host");
    write_file("ANOM1", "HERE", NULL, "", server.endpoint);
    expect(ANOMALYD_STALE_ENDPOINT, "no key pid");
    write_file("ANOM1", "HERE", "12x", "", server.endpoint);
    expect(ANOMALYD_STALE_ENDPOINT, "pid is \"12x\"");
    write_file("ANOM1", "HERE", "-1", "", server.endpoint); /* kill(-1, 0) would ask every process */
    expect(ANOMALYD_STALE_ENDPOINT, "pid is \"-1\"");
    write_file("ANOM1", "HERE", own_pid(), "", "nonsense");
    expect(ANOMALYD_STALE_ENDPOINT, "nonsense");
    memset(longer + 7, 'p', 120);
    write_file("ANOM1", "HERE", own_pid(), "", longer);
    expect(ANOMALYD_STALE_ENDPOINT, "limit is 107");
    check_write(file, "");
    expect(ANOMALYD_STALE_ENDPOINT, "protocol is \"\"");
    many = malloc(70001);
    if (many != NULL) {
        memset(many, 'x', 70000);
        many[70000] = '\0';
        check_write(file, many);
        free(many);
    }
    expect(ANOMALYD_STALE_ENDPOINT, "at most 65536 bytes");
    (void)remove(file);
    CHECK(mkfifo(file, 0600) == 0); /* opening it must not hang */
    expect(ANOMALYD_STALE_ENDPOINT, "regular file");
    (void)remove(file);
}

static void other_host_takes_the_first_tcp_endpoint(void)
{
    char services[600];
    write_file("ANOM1", "another-host", "1", "00000000", "ipc:///tmp/anomalyd-nobody.sock");
    expect(ANOMALYD_STALE_ENDPOINT, "another-host");
    /* Neither its pid nor its boot id means anything here. */
    (void)snprintf(services, sizeof services, "ipc:///tmp/anomalyd-nobody.sock\nservice=%s\nservice=tcp://127.0.0.1:9",
                   server.endpoint);
    write_file("ANOM1", "another-host", "999999999", "00000000", services);
    expect(ANOMALYD_OK, "");
}

static void own_host_takes_the_first_endpoint(void)
{
    char services[600];
    (void)snprintf(services, sizeof services, "%s\nservice=tcp://127.0.0.1:9", server.endpoint);
    write_file("ANOM1", "HERE", own_pid(), "", services);
    expect(ANOMALYD_OK, "");
}

static void restarted_daemon_is_found_at_its_new_endpoint(void)
{
    const char *const first[] = {"--endpoint-file", file, "--instance", "first", NULL};
    const char *const second[] = {"--endpoint-file", file, "--instance", "second", NULL};
    anomalyd_client *client;
    anomalyd_verdict verdict;
    peer daemon, successor;
    (void)remove(file);
    client = open_by_environment(1000); /* before the daemon */
    peer_start(&daemon, first);
    CHECK_STATUS(anomalyd_classify(client, 1, "/ok", &verdict), ANOMALYD_OK);
    peer_kill(&daemon);
    CHECK_STATUS(anomalyd_classify(client, 2, "/ok", &verdict), ANOMALYD_STALE_ENDPOINT);
    CHECK(verdict.label == ANOMALYD_UNKNOWN);
    peer_start(&successor, second); /* at another port */
    CHECK(strcmp(daemon.endpoint, successor.endpoint) != 0);
    CHECK_STATUS(anomalyd_classify(client, 3, "/ok", &verdict), ANOMALYD_OK);
    CHECK(verdict.restarted == 1);
    CHECK_TEXT(verdict.instance, "second");
    /* In the middle of a request, too. */
    CHECK_STATUS(anomalyd_submit(client, 4, "/late/500"), ANOMALYD_OK);
    (void)usleep(100000);
    peer_kill(&successor);
    peer_start(&daemon, first);
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_OK);
    CHECK_TEXT(verdict.instance, "first");
    anomalyd_close(client);
    peer_kill(&daemon);
}

int main(void)
{
    const char *const nothing[] = {NULL};
    char path[256];
    (void)unsetenv("ANOMALYD_ENDPOINT");
    (void)snprintf(path, sizeof path, "%s", check_path("endpoint"));
    file = path;
    peer_start(&server, nothing);
    RUN(argument_goes_before_variable_before_file);
    RUN(stale_file_is_refused_by_name);
    RUN(file_that_cannot_be_used_is_refused_by_name);
    RUN(other_host_takes_the_first_tcp_endpoint);
    RUN(own_host_takes_the_first_endpoint);
    RUN(restarted_daemon_is_found_at_its_new_endpoint);
    peer_kill(&server);
    return check_result();
}
