/* Opening and closing a client: options are checked and copied here. */
#define _POSIX_C_SOURCE 200809L
#include "open.h"
#include "client.h"
#include "clock.h"
#include "exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_MS 5000
#define DEFAULT_CONNECT_TIMEOUT_MS 1000
/* What libzmq opens for a context with one I/O thread and a connected, monitored socket, and a little more. */
#define N_DESCRIPTORS 24

/* GCC's spelling: C99 has none. */
static __thread anomalyd_problem open_problem;

anomalyd_problem *anomalyd_open_problem(void)
{
    return &open_problem;
}

/* Copies the options of a caller that may have been compiled with an older or newer header. */
static anomalyd_status read_options(const anomalyd_options *given, anomalyd_options *options)
{
    const unsigned char *bytes = (const unsigned char *)given;
    size_t size, idx;

    if (given == NULL)
        return anomalyd_problem_set(&open_problem, ANOMALYD_INVALID, "options is NULL");
    size = given->size;
    /* Version 0.1 had all of today's fields; 4096 guards against a struct that was never initialised. */
    if (size < sizeof *options || size > 4096)
        return anomalyd_problem_set(&open_problem, ANOMALYD_INVALID,
                                    "options.size is %lu, expected %lu: initialise the "
                                    "options with ANOMALYD_OPTIONS_INIT",
                                    (unsigned long)size, (unsigned long)sizeof *options);
    for (idx = sizeof *options; idx < size; ++idx)
        if (bytes[idx] != 0)
            return anomalyd_problem_set(&open_problem, ANOMALYD_INVALID,
                                        "an option is set that this library, version %s, "
                                        "does not know: update it",
                                        ANOMALYD_VERSION_STRING);
    memcpy(options, given, sizeof *options);
    options->size = sizeof *options;
    return ANOMALYD_OK;
}

/* Copies a string option; NULL is as empty. */
static anomalyd_status copy_string(const char *name, const char *given, char *copy, size_t most)
{
    size_t length = given == NULL ? 0 : strlen(given);
    if (length > most)
        return anomalyd_problem_set(&open_problem, ANOMALYD_INVALID, "option %s has %lu bytes, the limit is %lu", name,
                                    (unsigned long)length, (unsigned long)most);
    if (length > 0)
        memcpy(copy, given, length);
    copy[length] = '\0';
    return ANOMALYD_OK;
}

size_t anomalyd_name_span(const char *name)
{
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:");
}

static anomalyd_status check_name(const char *option, const char *name)
{
    size_t good = anomalyd_name_span(name);
    if (name[good] != '\0')
        return anomalyd_problem_set(&open_problem, ANOMALYD_INVALID,
                                    "option %s is \"%s\": character %lu is none of "
                                    "letters, digits and -_.:",
                                    option, name, (unsigned long)good + 1);
    return ANOMALYD_OK;
}

static anomalyd_status read_milliseconds(const char *name, int32_t given, int32_t otherwise, int64_t *ns)
{
    if (given < 0 || given > ANOMALYD_MAX_TIMEOUT_MS)
        return anomalyd_problem_set(&open_problem, ANOMALYD_INVALID,
                                    "option %s is %" PRId32 ", expected 1 to %d ms, or 0 "
                                    "for %" PRId32,
                                    name, given, ANOMALYD_MAX_TIMEOUT_MS, otherwise);
    *ns = (int64_t)(given == 0 ? otherwise : given) * ANOMALYD_NS_PER_MS;
    return ANOMALYD_OK;
}

static anomalyd_status read_keys(const anomalyd_options *options, anomalyd_keys *keys)
{
    anomalyd_status status = ANOMALYD_OK;
    bool has_pair = options->client_key_file != NULL && *options->client_key_file != '\0';

    if (options->server_key_file != NULL && *options->server_key_file != '\0')
        status = anomalyd_keys_read_server(options->server_key_file, keys, &open_problem);
    if (status != ANOMALYD_OK)
        return status;
    if (has_pair)
        status = anomalyd_keys_read_pair(options->client_key_file, keys, &open_problem);
    if (status == ANOMALYD_OK && (has_pair || keys->server[0] != '\0') && zmq_has("curve") == 0)
        return anomalyd_problem_set(&open_problem, ANOMALYD_INVALID,
                                    "key files are given, but this libzmq was built "
                                    "without CURVE");
    /* The endpoint file may name a server key at any time, so there is always a pair where there can be one. */
    if (status == ANOMALYD_OK && !has_pair && zmq_has("curve") != 0)
        status = anomalyd_keys_make_pair(keys, &open_problem);
    return status;
}

static anomalyd_status copy_options(anomalyd_client *client, const anomalyd_options *options)
{
    anomalyd_endpoint endpoint;
    anomalyd_problem problem;
    anomalyd_status status;

    /* Checked first, so that the words say what is too long. */
    if (options->endpoint != NULL && *options->endpoint != '\0') {
        status = anomalyd_endpoint_check(options->endpoint, &open_problem);
        if (status != ANOMALYD_OK)
            return status;
    }
    status = copy_string("endpoint", options->endpoint, client->endpoint, ANOMALYD_MAX_ENDPOINT);
    if (status == ANOMALYD_OK)
        status = copy_string("run", options->run, client->run, ANOMALYD_MAX_RUN);
    if (status == ANOMALYD_OK)
        status = check_name("run", client->run);
    if (status == ANOMALYD_OK)
        status = copy_string("model", options->model, client->model, ANOMALYD_MAX_MODEL);
    if (status == ANOMALYD_OK)
        status = check_name("model", client->model);
    if (status == ANOMALYD_OK)
        status = read_milliseconds("timeout_ms", options->timeout_ms, DEFAULT_TIMEOUT_MS, &client->timeout_ns);
    if (status == ANOMALYD_OK)
        status = read_milliseconds("connect_timeout_ms", options->connect_timeout_ms, DEFAULT_CONNECT_TIMEOUT_MS,
                                   &client->connect_timeout_ns);
    if (status == ANOMALYD_OK && options->policy != ANOMALYD_FAIL_OPEN && options->policy != ANOMALYD_FAIL_CLOSED)
        status = anomalyd_problem_set(&open_problem, ANOMALYD_INVALID,
                                      "option policy is %d, expected ANOMALYD_FAIL_OPEN "
                                      "or ANOMALYD_FAIL_CLOSED",
                                      (int)options->policy);
    client->policy = options->policy;
    client->want_heatmap = options->want_heatmap != 0;
    if (status == ANOMALYD_OK)
        status = read_keys(options, &client->keys);
    /* No endpoint given anywhere is the caller's mistake; a file that is missing or stale may be mended later. */
    if (status == ANOMALYD_OK && anomalyd_endpoint_resolve(client->endpoint, &endpoint, &problem) == ANOMALYD_INVALID) {
        open_problem = problem;
        status = ANOMALYD_INVALID;
    }
    return status;
}

/* Makes sure that libzmq will get its descriptors: it aborts the whole process where it does not. */
static anomalyd_status check_descriptors(void)
{
    int files[N_DESCRIPTORS];
    int n_files = 0, failure = 0;

    while (n_files < N_DESCRIPTORS && failure == 0) {
        int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (file < 0)
            failure = errno;
        else
            files[n_files++] = file;
    }
    while (n_files > 0)
        (void)close(files[--n_files]);
    if (failure != 0)
        return anomalyd_problem_set(&open_problem, ANOMALYD_SYSTEM,
                                    "%d file descriptors are needed: %s; raise ulimit -n", N_DESCRIPTORS,
                                    strerror(failure));
    return ANOMALYD_OK;
}

/* Random, so that no two clients have the same request ids, wherever they run. */
static void make_nonce(anomalyd_client *client)
{
    uint64_t nonce = 0;
    ssize_t got = -1;
    int file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        got = read(file, &nonce, sizeof nonce);
        (void)close(file);
    }
    if (got != (ssize_t)sizeof nonce)
        nonce = (uint64_t)anomalyd_clock_ns() * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)getpid() << 32 ^
                (uint64_t)(uintptr_t)client;
    (void)snprintf(client->nonce, sizeof client->nonce, "%016" PRIx64, nonce);
}

static anomalyd_status start(anomalyd_client *client)
{
    anomalyd_status status = check_descriptors();
    if (status != ANOMALYD_OK)
        return status;
    client->context = zmq_ctx_new();
    if (client->context == NULL)
        return anomalyd_problem_set(&open_problem, ANOMALYD_SYSTEM, "no ZeroMQ context could be made: %s",
                                    zmq_strerror(zmq_errno()));
    client->owner = getpid();
    make_nonce(client);
    anomalyd_exchange_connect(client);
    return ANOMALYD_OK;
}

static void free_client(anomalyd_client *client)
{
    anomalyd_reply_drop(&client->reply);
    free(client->detail);
    anomalyd_keys_wipe_bytes(&client->keys, sizeof client->keys);
    free(client);
}

anomalyd_status anomalyd_open(const anomalyd_options *options, anomalyd_client **client)
{
    anomalyd_options read;
    anomalyd_client *opened;
    anomalyd_status status;

    if (client == NULL)
        return anomalyd_problem_set(&open_problem, ANOMALYD_INVALID, "client is NULL");
    *client = NULL;
    (void)anomalyd_problem_none(&open_problem);
    status = read_options(options, &read);
    if (status != ANOMALYD_OK)
        return status;
    opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return anomalyd_problem_set(&open_problem, ANOMALYD_NO_MEMORY, "no memory for a client");
    status = copy_options(opened, &read);
    if (status == ANOMALYD_OK)
        status = start(opened);
    if (status != ANOMALYD_OK) {
        free_client(opened);
        return status;
    }
    *client = opened;
    return ANOMALYD_OK;
}

void anomalyd_close(anomalyd_client *client)
{
    if (client == NULL)
        return;
    /* In a child of fork() libzmq's threads do not exist; to wait for them would be to wait for ever. */
    if (client->owner == getpid()) {
        anomalyd_exchange_abandon(client);
        anomalyd_connection_close(&client->connection);
        while (zmq_ctx_term(client->context) != 0 && zmq_errno() == EINTR) {
        }
    }
    free_client(client);
}
