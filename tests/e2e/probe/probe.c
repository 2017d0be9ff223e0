/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Does what its standard input says with one client, and prints one line for each: the tests drive it. A line is
 *     classify STEP xHEXPATH | field STEP BYTES VARIABLES ROWS COLUMNS xHEXPATH | rewind STEP | label STEP normal|anomalous |
 *     stream xHEXNAME | ping
 * and the answer
 *     STATUS LABEL ACTED RESTARTED STEP SCORE THRESHOLD MILLISECONDS INSTANCE
 */
#define _POSIX_C_SOURCE 200809L
#include <anomalyd.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Paths travel as hex, so that any byte can be in them. */
static void from_hex(const char *hex, char *path, size_t capacity)
{
    size_t n = 0;
    unsigned byte;
    while (n + 1 < capacity && sscanf(hex + 2 * n, "%2x", &byte) == 1)
        path[n++] = (char)byte;
    path[n] = '\0';
}

int main(int argc, char **argv)
{
    static char line[2 * ANOMALYD_MAX_PATH + 256], hex[2 * ANOMALYD_MAX_PATH + 1], path[ANOMALYD_MAX_PATH + 1];
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client;

    if (argc != 5) {
        fprintf(stderr, "usage: %s ENDPOINT RUN TIMEOUT_MS open|closed\n", argv[0]);
        return 2;
    }
    options.endpoint = *argv[1] ? argv[1] : NULL;
    options.run = argv[2];
    options.timeout_ms = (int32_t)atol(argv[3]);
    options.policy = strcmp(argv[4], "closed") == 0 ? ANOMALYD_FAIL_CLOSED : ANOMALYD_FAIL_OPEN;
    if (anomalyd_open(&options, &client) != ANOMALYD_OK) {
        fprintf(stderr, "open: %s\n", anomalyd_last_error(NULL));
        return 1;
    }
    while (fgets(line, sizeof line, stdin)) {
        anomalyd_verdict verdict;
        int64_t step = -1;
        size_t extents[3];
        int n_bytes;
        double begun = now_ms();
        memset(&verdict, 0, sizeof verdict);
        verdict.label = ANOMALYD_UNKNOWN;
        hex[0] = '\0';
        if (sscanf(line, "classify %" SCNd64 " x%8192[0-9a-f]", &step, hex) >= 1) {
            from_hex(hex, path, sizeof path);
            anomalyd_classify(client, step, path, &verdict);
        } else if (sscanf(line, "field %" SCNd64 " %d %zu %zu %zu x%8192[0-9a-f]", &step, &n_bytes, &extents[0], &extents[1], &extents[2],
                          hex) == 6) {
            size_t length = (size_t)n_bytes * extents[0] * extents[1] * extents[2];
            void *values = malloc(length);
            FILE *file;
            from_hex(hex, path, sizeof path);
            file = fopen(path, "rb");
            if (values != NULL && file != NULL && fread(values, 1, length, file) == length)
                anomalyd_classify_field(client, step, values, n_bytes == 4 ? ANOMALYD_F32 : ANOMALYD_F64, 3, extents, &verdict);
            if (file != NULL)
                fclose(file);
            free(values);
        } else if (sscanf(line, "rewind %" SCNd64, &step) == 1) {
            verdict.status = anomalyd_rewind(client, step);
            verdict.step = step;
        } else if (sscanf(line, "stream x%256[0-9a-f]", hex) >= 0 && strncmp(line, "stream", 6) == 0) {
            from_hex(hex, path, sizeof path);
            verdict.status = anomalyd_set_stream(client, path);
        } else if (sscanf(line, "label %" SCNd64 " %8192[a-z]", &step, hex) == 2) {
            anomalyd_label truth = strcmp(hex, "normal") == 0 ? ANOMALYD_NORMAL : ANOMALYD_ANOMALOUS;
            verdict.status = anomalyd_label_step(client, step, truth);
            verdict.step = step;
        } else {
            verdict.status = anomalyd_ping(client);
        }
        printf("%d %s %d %d %" PRId64 " %.17g %.17g %.3f %s\n", (int)verdict.status, anomalyd_label_name(verdict.label), verdict.acted,
               verdict.restarted, verdict.step, verdict.score, verdict.threshold, now_ms() - begun,
               verdict.instance[0] ? verdict.instance : "-");
        fflush(stdout);
    }
    anomalyd_close(client);
    return 0;
}
