/* Asks about one image: minimal STEP PATH, with ANOMALYD_ENDPOINT or ANOMALYD_ENDPOINT_FILE set. Exit code 1:
 * anomalous. */
#include <anomalyd.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client;
    anomalyd_verdict verdict;

    if (argc != 3) {
        (void)fprintf(stderr, "usage: minimal STEP PATH\n");
        return 2;
    }
    options.run = "minimal";
    if (anomalyd_open(&options, &client) != ANOMALYD_OK) {
        (void)fprintf(stderr, "minimal: %s\n", anomalyd_last_error(NULL));
        return 2;
    }
    (void)anomalyd_classify(client, strtoll(argv[1], NULL, 10), argv[2], &verdict);
    (void)printf("%d %s score %g threshold %g %s\n", (int)verdict.status, anomalyd_label_name(verdict.label),
                 verdict.score, verdict.threshold, anomalyd_last_error(client));
    anomalyd_close(client);
    return verdict.acted;
}
