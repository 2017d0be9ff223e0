/* Many calls, clients and failures: memory and descriptors stay where they were. test_soak CALLS */
#define _DEFAULT_SOURCE
#include "check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Resident memory may grow by this much, KiB: allocators keep a little. A leak of 16 bytes a call would be 1600. */
#define MAX_GROWTH_KIB 1024

static peer server;
static long n_calls = 1000;

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*d %ld", &pages) != 1)
        pages = 0;
    (void)fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static int n_descriptors(void)
{
    int n = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL)
        return 0;
    while (readdir(directory) != NULL)
        ++n;
    (void)closedir(directory);
    return n;
}

static void calls_do_not_leak(void)
{
    anomalyd_client *client = open_at(server.endpoint, 20000, ANOMALYD_FAIL_OPEN);
    anomalyd_verdict verdict;
    long call, before = 0, growth;
    double begin = 0;
    int n_before = 0;
    for (call = 0; call < n_calls + 200; ++call) {
        if (call == 200) { /* warm */
            before = resident_kib();
            n_before = n_descriptors();
            begin = check_now_ms();
        }
        if (anomalyd_classify(client, call, "/echo", &verdict) != ANOMALYD_OK || verdict.step != call) {
            (void)fprintf(stderr, "call %ld: %s\n", call, anomalyd_last_error(client));
            CHECK(!"every call succeeds");
            break;
        }
    }
    growth = resident_kib() - before;
    (void)fprintf(stderr, "       %ld calls, %.1f us each, resident memory grew by %ld KiB\n", n_calls,
                  (check_now_ms() - begin) * 1e3 / (double)n_calls, growth);
    CHECK(growth < MAX_GROWTH_KIB);
    CHECK(n_descriptors() == n_before);
    anomalyd_close(client);
}

static void clients_and_failures_do_not_leak(void)
{
    int before = n_descriptors(), round, n_rounds = n_calls < 1000 ? 5 : 50;
    long memory = 0;
    for (round = 0; round < n_rounds; ++round) {
        anomalyd_client *client = open_at(server.endpoint, 20, ANOMALYD_FAIL_OPEN);
        anomalyd_client *alone = open_at("ipc:///tmp/anomalyd-nobody.sock", 15, ANOMALYD_FAIL_OPEN);
        anomalyd_verdict verdict;
        (void)anomalyd_classify(client, 1, "/silent", &verdict);
        (void)anomalyd_classify(alone, 1, "/ok", &verdict);
        (void)anomalyd_submit(client, 1, "/silent");
        anomalyd_close(client);
        anomalyd_close(alone);
        if (round == n_rounds / 5)
            memory = resident_kib();
    }
    CHECK(n_descriptors() == before);
    (void)fprintf(stderr, "       %d clients, resident memory grew by %ld KiB\n", 2 * n_rounds, resident_kib() - memory);
#ifndef __SANITIZE_ADDRESS__ /* it remembers every thread that ever was, and looks for leaks by itself */
    CHECK(resident_kib() - memory < MAX_GROWTH_KIB);
#endif
}

int main(int argc, char **argv)
{
    char endpoint[128];
    const char *const arguments[] = {"--bind", endpoint, NULL};
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%s", check_path("s"));
    if (argc > 1)
        n_calls = strtol(argv[1], NULL, 10);
    peer_start(&server, arguments);
    RUN(calls_do_not_leak);
    RUN(clients_and_failures_do_not_leak);
    peer_kill(&server);
    return check_result();
}
