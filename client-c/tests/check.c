/* The tests' own tools; see check.h. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int n_failures;
static char directory[64];

void check_truth(int truth, const char *what, const char *file, int line)
{
    if (truth)
        return;
    ++n_failures;
    (void)fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
}

void check_status(int found, int wanted, const char *what, const char *file, int line)
{
    if (found == wanted)
        return;
    ++n_failures;
    (void)fprintf(stderr, "%s:%d: %s is %d (%s), expected %d (%s)\n", file, line, what, found,
                  anomalyd_strerror((anomalyd_status)found), wanted, anomalyd_strerror((anomalyd_status)wanted));
}

void check_text(const char *found, const char *wanted, const char *what, const char *file, int line)
{
    if (strcmp(found, wanted) == 0)
        return;
    ++n_failures;
    (void)fprintf(stderr, "%s:%d: %s is \"%s\", expected \"%s\"\n", file, line, what, found, wanted);
}

void check_says(const char *found, const char *wanted, const char *what, const char *file, int line)
{
    if (strstr(found, wanted) != NULL)
        return;
    ++n_failures;
    (void)fprintf(stderr, "%s:%d: %s is \"%s\", expected to find \"%s\" in it\n", file, line, what, found, wanted);
}

void check_run(void (*behaviour)(void), const char *name)
{
    int before = n_failures;
    double start = check_now_ms();
    behaviour();
    (void)fprintf(stderr, "%s %s (%.0f ms)\n", n_failures == before ? "ok    " : "FAILED", name,
                  check_now_ms() - start);
}

int check_result(void)
{
    return n_failures > 0;
}

double check_now_ms(void)
{
    struct timespec now = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_directory(void)
{
    (void)nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *check_directory(void)
{
    if (directory[0] == '\0') {
        (void)snprintf(directory, sizeof directory, "/tmp/anomalyd-test-XXXXXX");
        if (mkdtemp(directory) == NULL) {
            perror("mkdtemp");
            exit(99);
        }
        (void)atexit(remove_directory);
    }
    return directory;
}

const char *check_path(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", check_directory(), name);
    return path;
}

void check_write(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    if (file == NULL || fputs(content, file) < 0 || fclose(file) != 0) {
        perror(path);
        exit(99);
    }
}

void peer_start(peer *server, const char *const *arguments)
{
    const char *all[24] = {SERVER};
    size_t used = 1;
    while (*arguments != NULL && used + 1 < sizeof all / sizeof all[0])
        all[used++] = *arguments++;
    all[used] = NULL;
    peer_start_python(server, all);
}

void peer_start_python(peer *server, const char *const *arguments)
{
    const char *command[24] = {PYTHON};
    char line[512];
    size_t used = 1, filled = 0;
    int output[2];

    while (*arguments != NULL && used + 1 < sizeof command / sizeof command[0])
        command[used++] = *arguments++;
    command[used] = NULL;
    if (pipe(output) != 0 || (server->pid = fork()) < 0) {
        perror("starting the server");
        exit(99);
    }
    if (server->pid == 0) {
        (void)dup2(output[1], STDOUT_FILENO);
        (void)close(output[0]);
        (void)close(output[1]);
        (void)execv(command[0], (char *const *)command);
        perror(command[0]);
        _exit(99);
    }
    (void)close(output[1]);
    server->output = output[0];
    while (filled + 1 < sizeof line && read(output[0], line + filled, 1) == 1 && line[filled] != '\n')
        ++filled;
    line[filled] = '\0';
    if (sscanf(line, "ready %255s", server->endpoint) != 1) {
        (void)fprintf(stderr, "the test server did not start: does %s have zmq (Debian: python3-zmq)?\n", PYTHON);
        exit(99);
    }
}

void peer_signal(const peer *server, int signal)
{
    (void)kill(server->pid, signal);
}

void peer_wait(peer *server)
{
    int how;
    (void)waitpid(server->pid, &how, 0);
    (void)close(server->output);
    server->pid = 0;
}

void peer_kill(peer *server)
{
    peer_signal(server, SIGKILL);
    peer_wait(server);
}

anomalyd_client *open_at(const char *endpoint, int32_t timeout_ms, anomalyd_policy policy)
{
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client;
    options.endpoint = endpoint;
    options.run = "run_a";
    options.timeout_ms = timeout_ms;
    options.policy = policy;
    CHECK_STATUS(anomalyd_open(&options, &client), ANOMALYD_OK);
    if (client == NULL) {
        (void)fprintf(stderr, "%s\n", anomalyd_last_error(NULL));
        exit(1);
    }
    return client;
}
