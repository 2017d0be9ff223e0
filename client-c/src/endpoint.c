/* Where the daemon is; see endpoint.h. */
#define _POSIX_C_SOURCE 200809L
#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* PROTOCOL.md, section 10; and one for the NUL. */
#define MAX_FILE (65536 + 1)

/* What stands before the daemon's public key, where one is given with the endpoint (PROTOCOL.md, 12.3). */
#define KEY_MARK "?server_public_key="

/* What one endpoint file says; the strings point into its text. */
typedef struct endpoint_file {
    const char *protocol, *host, *pid, *boot_id, *instance, *server_key;
    const char *first_service, *first_tcp, *control;
} endpoint_file;

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static anomalyd_status check_tcp(const char *address, anomalyd_problem *problem)
{
    const char *host = address + strlen("tcp://");
    const char *colon = strrchr(host, ':');
    char *end;
    long port;

    if (colon == NULL || colon == host || colon[1] < '0' || colon[1] > '9')
        return anomalyd_problem_set(problem, ANOMALYD_INVALID, "endpoint %s: expected tcp://host:port", address);
    errno = 0;
    port = strtol(colon + 1, &end, 10);
    if (*end != '\0' || errno != 0 || port < 1 || port > 65535)
        return anomalyd_problem_set(problem, ANOMALYD_INVALID, "endpoint %s: the port must be 1 to 65535", address);
    if (strchr(host, '*') != NULL)
        return anomalyd_problem_set(problem, ANOMALYD_INVALID, "endpoint %s: a client needs a host, not *", address);
    return ANOMALYD_OK;
}

static anomalyd_status check_address(const char *address, anomalyd_problem *problem)
{
    size_t length = strlen(address);

    if (starts_with(address, "ipc://")) {
        length -= strlen("ipc://");
        if (length == 0)
            return anomalyd_problem_set(problem, ANOMALYD_INVALID, "endpoint ipc://: expected a path after it");
        if (length > ANOMALYD_MAX_IPC_PATH)
            return anomalyd_problem_set(problem, ANOMALYD_INVALID,
                                        "endpoint %.80s...: its path has %lu bytes, the system's limit is %d; use a "
                                        "shorter one, for example below /tmp or $XDG_RUNTIME_DIR",
                                        address, (unsigned long)length, ANOMALYD_MAX_IPC_PATH);
        return ANOMALYD_OK;
    }
    if (length > ANOMALYD_MAX_ENDPOINT)
        return anomalyd_problem_set(problem, ANOMALYD_INVALID, "endpoint %.80s... has %lu bytes, the limit is %d",
                                    address, (unsigned long)length, ANOMALYD_MAX_ENDPOINT);
    if (starts_with(address, "tcp://"))
        return check_tcp(address, problem);
    return anomalyd_problem_set(problem, ANOMALYD_INVALID, "endpoint %s: expected ipc:///path or tcp://host:port",
                                address);
}

anomalyd_status anomalyd_endpoint_check(const char *given, anomalyd_problem *problem)
{
    char address[ANOMALYD_MAX_ENDPOINT + 1];
    const char *mark = strstr(given, KEY_MARK);
    size_t length = mark == NULL ? 0 : (size_t)(mark - given);

    if (mark == NULL)
        return check_address(given, problem);
    if (strlen(given) > ANOMALYD_MAX_ENDPOINT)
        return anomalyd_problem_set(problem, ANOMALYD_INVALID, "endpoint %.80s... has %lu bytes, the limit is %d",
                                    given, (unsigned long)strlen(given), ANOMALYD_MAX_ENDPOINT);
    memcpy(address, given, length);
    address[length] = '\0';
    mark += strlen(KEY_MARK);
    if (strlen(mark) != ANOMALYD_KEY_SIZE - 1)
        return anomalyd_problem_set(problem, ANOMALYD_INVALID,
                                    "endpoint %s: the key given with it has %lu characters, expected %d of Z85",
                                    address, (unsigned long)strlen(mark), ANOMALYD_KEY_SIZE - 1);
    return check_address(address, problem);
}

int anomalyd_read_small_file(const char *path, char *text, size_t size, bool private_only)
{
    struct stat about;
    size_t filled = 0;
    int failure = 0;
    /* O_NONBLOCK: a FIFO in the file's place must not hold the simulation up. */
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    if (file < 0)
        return errno;
    if (fstat(file, &about) != 0)
        failure = errno;
    else if (!S_ISREG(about.st_mode))
        failure = EINVAL;
    else if (private_only && (about.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        failure = EPERM;
    while (failure == 0) {
        ssize_t got;
        if (filled == size) {
            failure = EFBIG;
            break;
        }
        got = read(file, text + filled, size - filled);
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            failure = errno;
        if (got > 0)
            filled += (size_t)got;
    }
    (void)close(file);
    if (failure == 0)
        text[filled] = '\0'; /* filled < size: the loop ends with EFBIG else */
    return failure;
}

/* Splits the text into key=value lines in place. */
static void parse_file(char *text, endpoint_file *file)
{
    char *line = text;

    memset(file, 0, sizeof *file);
    while (line != NULL && *line != '\0') {
        char *next = strchr(line, '\n'), *value;
        if (next != NULL)
            *next++ = '\0';
        value = strchr(line, '=');
        if (value != NULL) {
            *value++ = '\0';
            if (strcmp(line, "protocol") == 0)
                file->protocol = value;
            else if (strcmp(line, "host") == 0)
                file->host = value;
            else if (strcmp(line, "pid") == 0)
                file->pid = value;
            else if (strcmp(line, "boot_id") == 0)
                file->boot_id = value;
            else if (strcmp(line, "instance") == 0)
                file->instance = value;
            else if (strcmp(line, "control") == 0)
                file->control = value;
            else if (strcmp(line, "server_public_key") == 0)
                file->server_key = value;
            else if (strcmp(line, "service") == 0) {
                if (file->first_service == NULL)
                    file->first_service = value;
                if (file->first_tcp == NULL && starts_with(value, "tcp://"))
                    file->first_tcp = value;
            }
        }
        line = next;
    }
}

/* Whether this process runs on `host`, as gethostname() gives it. */
static bool is_this_host(const char *host)
{
    char name[256];
    if (gethostname(name, sizeof name) != 0)
        return false;
    name[sizeof name - 1] = '\0';
    return strcmp(name, host) == 0;
}

static anomalyd_status check_alive(const char *path, const endpoint_file *file, anomalyd_problem *problem)
{
    char boot_id[128];
    char *end;
    long pid;

    if (file->boot_id != NULL && *file->boot_id != '\0' &&
        anomalyd_read_small_file("/proc/sys/kernel/random/boot_id", boot_id, sizeof boot_id, false) == 0) {
        boot_id[strcspn(boot_id, "\n")] = '\0';
        if (strcmp(boot_id, file->boot_id) != 0)
            return anomalyd_problem_set(
                problem, ANOMALYD_STALE_ENDPOINT,
                "endpoint file %s is stale: this node was restarted since; its boot_id is %.40s, "
                "the file's %.40s; start the daemon again",
                path, boot_id, file->boot_id);
    }
    errno = 0;
    pid = strtol(file->pid, &end, 10);
    if (*end != '\0' || errno != 0 || pid <= 0 || (long)(pid_t)pid != pid)
        return anomalyd_problem_set(problem, ANOMALYD_STALE_ENDPOINT,
                                    "endpoint file %s: pid is \"%.40s\", expected a "
                                    "process id",
                                    path, file->pid);
    if (kill((pid_t)pid, 0) != 0 && errno == ESRCH)
        return anomalyd_problem_set(
            problem, ANOMALYD_STALE_ENDPOINT,
            "endpoint file %s is stale: its daemon, process %ld, is gone; start the daemon again", path, pid);
    return ANOMALYD_OK;
}

static anomalyd_status read_file(const char *path, anomalyd_endpoint *endpoint, anomalyd_problem *problem)
{
    char text[MAX_FILE];
    endpoint_file file;
    const char *address, *missing;
    anomalyd_problem detail;
    anomalyd_status status;
    bool here;
    int failure = anomalyd_read_small_file(path, text, sizeof text, false);

    endpoint->from_file = true;
    if (failure == ENOENT) {
        endpoint->may_change = true;
        return anomalyd_problem_set(problem, ANOMALYD_UNAVAILABLE,
                                    "no endpoint file %s: the daemon has not started yet, "
                                    "or has ended",
                                    path);
    }
    if (failure == EFBIG || failure == EINVAL)
        return anomalyd_problem_set(problem, ANOMALYD_STALE_ENDPOINT,
                                    "%s is not an endpoint file: expected a regular "
                                    "file of at most %d bytes",
                                    path, MAX_FILE - 1);
    if (failure != 0)
        return anomalyd_problem_set(problem, ANOMALYD_SYSTEM, "endpoint file %s cannot be read: %s", path,
                                    strerror(failure));

    parse_file(text, &file);
    if (file.protocol == NULL || strcmp(file.protocol, "ANOM1") != 0)
        return anomalyd_problem_set(problem, ANOMALYD_STALE_ENDPOINT,
                                    "endpoint file %s: protocol is \"%.40s\", this "
                                    "client speaks ANOM1; update the older side",
                                    path, file.protocol == NULL ? "" : file.protocol);
    missing = file.first_service == NULL ? "service"
              : file.control == NULL     ? "control"
              : file.instance == NULL    ? "instance"
              : file.host == NULL        ? "host"
              : file.pid == NULL         ? "pid"
                                         : NULL;
    if (missing != NULL)
        return anomalyd_problem_set(problem, ANOMALYD_STALE_ENDPOINT,
                                    "endpoint file %s has no key %s: is it a daemon's?", path, missing);
    here = is_this_host(file.host);
    if (here) {
        status = check_alive(path, &file, problem);
        if (status != ANOMALYD_OK) {
            endpoint->may_change = true;
            return status;
        }
    }
    address = here ? file.first_service : file.first_tcp;
    if (address == NULL)
        return anomalyd_problem_set(problem, ANOMALYD_STALE_ENDPOINT,
                                    "endpoint file %s names no tcp:// service endpoint, "
                                    "and this is another host than the daemon's, %.80s; let the daemon bind one",
                                    path, file.host);
    if (check_address(address, &detail) != ANOMALYD_OK)
        return anomalyd_problem_set(problem, ANOMALYD_STALE_ENDPOINT, "endpoint file %s: %s", path, detail.words);
    if (file.server_key != NULL && *file.server_key != '\0') {
        if (strlen(file.server_key) != ANOMALYD_KEY_SIZE - 1)
            return anomalyd_problem_set(problem, ANOMALYD_STALE_ENDPOINT,
                                        "endpoint file %s: server_public_key has %lu "
                                        "characters, expected %d of Z85",
                                        path, (unsigned long)strlen(file.server_key), ANOMALYD_KEY_SIZE - 1);
        memcpy(endpoint->server_key, file.server_key, ANOMALYD_KEY_SIZE);
    }
    memcpy(endpoint->address, address, strlen(address) + 1);
    return ANOMALYD_OK;
}

anomalyd_status anomalyd_endpoint_resolve(const char *given, anomalyd_endpoint *endpoint, anomalyd_problem *problem)
{
    const char *path, *mark;
    anomalyd_status status;

    memset(endpoint, 0, sizeof *endpoint);
    if (*given == '\0') {
        given = getenv("ANOMALYD_ENDPOINT");
        if (given == NULL)
            given = "";
    }
    if (*given == '\0') {
        path = getenv("ANOMALYD_ENDPOINT_FILE");
        if (path == NULL || *path == '\0')
            return anomalyd_problem_set(problem, ANOMALYD_INVALID,
                                        "no endpoint: give one, or set ANOMALYD_ENDPOINT, or "
                                        "set ANOMALYD_ENDPOINT_FILE to the file that the daemon writes");
        return read_file(path, endpoint, problem);
    }
    status = anomalyd_endpoint_check(given, problem);
    if (status != ANOMALYD_OK)
        return status;
    mark = strstr(given, KEY_MARK);
    if (mark == NULL) {
        memcpy(endpoint->address, given, strlen(given) + 1);
    } else {
        memcpy(endpoint->address, given, (size_t)(mark - given)); /* the NUL is there already */
        memcpy(endpoint->server_key, mark + strlen(KEY_MARK), ANOMALYD_KEY_SIZE);
    }
    return ANOMALYD_OK;
}
