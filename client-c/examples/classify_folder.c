/* Asks a daemon about a list of images, one after another, each as the next time step of one run.
 *
 * Prints a line an image: step, status, label, score, threshold, p-value, latency in ms, path; then a summary. The
 * endpoint is found as anomalyd_options.endpoint says. Exit code 0: every image got a verdict or a warm-up's "unknown";
 * 1: some did not; 2: wrong usage.
 */
#define _POSIX_C_SOURCE 200809L
#include <anomalyd.h>

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage[] =
    "usage: classify_folder [options] IMAGE_OR_PATTERN...\n"
    "  --endpoint ADDRESS  ipc:///path or tcp://host:port; default: ANOMALYD_ENDPOINT, then ANOMALYD_ENDPOINT_FILE\n"
    "  --run NAME          run whose pool the images join; default: none, a fitted model judges each image alone\n"
    "  --model NAME        fitted model; default: the daemon's\n"
    "  --timeout-ms N      longest wait for one image; default 5000\n"
    "  --first-step N      step of the first image; default 1\n"
    "Images are taken in the order given, those of a pattern (*, ?, [...]) in the order of their names.\n";

typedef struct arguments {
    anomalyd_options options;
    int64_t first_step;
    glob_t images;
} arguments;

typedef struct counts {
    size_t n_normal, n_anomalous, n_unknown, n_failed;
} counts;

static double now_ms(void)
{
    struct timespec now = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* The number after "p_value": in the detail, NaN where there is none. The key occurs once, at the top of the object. */
static double p_value(const char *detail)
{
    static const char key[] = "\"p_value\":";
    const char *at = strstr(detail, key);
    char *end;
    double value;
    if (at == NULL)
        return NAN;
    value = strtod(at + strlen(key), &end);
    return end == at + strlen(key) ? NAN : value;
}

static int parse_integer(const char *text, long long least, long long most, long long *value)
{
    char *end;
    *value = strtoll(text, &end, 10);
    return *text != '\0' && *end == '\0' && *value >= least && *value <= most;
}

static int add_images(const char *pattern, glob_t *images)
{
    int flags = images->gl_pathc > 0 ? GLOB_APPEND : 0;
    /* GLOB_NOCHECK: a name that matches nothing goes to the daemon, whose host may see it. */
    return glob(pattern, flags | GLOB_NOCHECK, NULL, images) == 0;
}

/* Returns 0 if the command line cannot be understood. */
static int parse(int argc, char **argv, arguments *read)
{
    int idx;
    anomalyd_options_init(&read->options);
    read->first_step = 1;
    memset(&read->images, 0, sizeof read->images);
    for (idx = 1; idx < argc; ++idx) {
        const char *word = argv[idx], *value = idx + 1 < argc ? argv[idx + 1] : NULL;
        long long number;
        if (strncmp(word, "--", 2) != 0) {
            if (!add_images(word, &read->images))
                return 0;
            continue;
        }
        if (value == NULL)
            return 0;
        ++idx;
        if (strcmp(word, "--endpoint") == 0)
            read->options.endpoint = value;
        else if (strcmp(word, "--run") == 0)
            read->options.run = value;
        else if (strcmp(word, "--model") == 0)
            read->options.model = value;
        else if (strcmp(word, "--timeout-ms") == 0 && parse_integer(value, 1, ANOMALYD_MAX_TIMEOUT_MS, &number))
            read->options.timeout_ms = (int32_t)number;
        else if (strcmp(word, "--first-step") == 0 && parse_integer(value, INT64_MIN, INT64_MAX, &number))
            read->first_step = number;
        else
            return 0;
    }
    return read->images.gl_pathc > 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void count(const anomalyd_verdict *verdict, counts *so_far)
{
    if (verdict->status != ANOMALYD_OK)
        ++so_far->n_failed;
    else if (verdict->label == ANOMALYD_NORMAL)
        ++so_far->n_normal;
    else if (verdict->label == ANOMALYD_ANOMALOUS)
        ++so_far->n_anomalous;
    else
        ++so_far->n_unknown;
}

/* The latency at or below which `percent` of the sorted ones lie. */
static double quantile(const double *sorted, size_t n, size_t percent)
{
    return sorted[(n * percent + 99) / 100 - 1];
}

static counts classify_all(anomalyd_client *client, const arguments *given, double *latencies_ms)
{
    counts so_far = {0, 0, 0, 0};
    size_t idx;

    (void)printf("%8s %6s %-9s %12s %12s %10s %11s  %s\n", "step", "status", "label", "score", "threshold", "p-value",
                 "latency/ms", "image");
    for (idx = 0; idx < given->images.gl_pathc; ++idx) {
        const char *path = given->images.gl_pathv[idx];
        anomalyd_verdict verdict;
        double start = now_ms();
        anomalyd_status status = anomalyd_classify(client, given->first_step + (int64_t)idx, path, &verdict);
        latencies_ms[idx] = now_ms() - start;
        count(&verdict, &so_far);
        (void)printf("%8lld %6d %-9s %12.6g %12.6g %10.4g %11.3f  %s\n", (long long)verdict.step, (int)status,
                     anomalyd_label_name(verdict.label), verdict.score, verdict.threshold,
                     p_value(anomalyd_detail(client, NULL)), latencies_ms[idx], path);
        if (verdict.restarted)
            (void)fprintf(stderr, "classify_folder: the daemon was restarted before step %lld\n",
                          (long long)verdict.step);
        if (status != ANOMALYD_OK)
            (void)fprintf(stderr, "classify_folder: step %lld: %s\n", (long long)verdict.step,
                          anomalyd_last_error(client));
    }
    return so_far;
}

int main(int argc, char **argv)
{
    arguments given;
    anomalyd_client *client;
    counts total;
    double *latencies_ms;
    size_t n;

    if (!parse(argc, argv, &given)) {
        (void)fputs(usage, stderr);
        globfree(&given.images);
        return 2;
    }
    n = given.images.gl_pathc;
    latencies_ms = malloc(n * sizeof *latencies_ms);
    if (latencies_ms == NULL || anomalyd_open(&given.options, &client) != ANOMALYD_OK) {
        (void)fprintf(stderr, "classify_folder: %s\n",
                      latencies_ms == NULL ? "out of memory" : anomalyd_last_error(NULL));
        free(latencies_ms);
        globfree(&given.images);
        return 2;
    }
    total = classify_all(client, &given, latencies_ms);
    anomalyd_close(client);

    qsort(latencies_ms, n, sizeof *latencies_ms, by_size);
    (void)printf("%lu images: %lu normal, %lu anomalous, %lu unknown, %lu without a verdict; latency median %.3f ms, "
                 "p99 %.3f ms, greatest %.3f ms\n",
                 (unsigned long)n, (unsigned long)total.n_normal, (unsigned long)total.n_anomalous,
                 (unsigned long)total.n_unknown, (unsigned long)total.n_failed, quantile(latencies_ms, n, 50),
                 quantile(latencies_ms, n, 99), latencies_ms[n - 1]);
    free(latencies_ms);
    globfree(&given.images);
    return total.n_failed > 0;
}
