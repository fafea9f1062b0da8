/* Runs one program and tells what it took, as a line of JSON in a file.
 *
 *     launch [-u] FILE PROGRAM [WORD...]
 *
 * -u: in a UTS namespace of its own, so that a host name set there is nobody else's.
 *
 * A SIGTERM goes on to the program, and the figures are those until it ended.
 *
 * Linked statically and small, because the kernel's figure for a child's peak memory begins with what the child was
 * before its exec: the launcher. Times are CLOCK_MONOTONIC, which all processes of a machine share. Processor time is
 * that of the whole tree, peak memory that of its largest process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile pid_t child;

static void pass_on(int signal_number)
{
    if (child > 0)
        kill(child, signal_number);
}

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double seconds(struct timeval t)
{
    return t.tv_sec + t.tv_usec / 1e6;
}

/* Seconds for which a process that has ended, but is not forgotten yet, could have run and was not let: what the
 * machine's other work took from it. Of its first thread alone; 0 where the kernel does not say. */
static double delayed(pid_t process)
{
    char name[64];
    unsigned long long ran, waited = 0;
    snprintf(name, sizeof name, "/proc/%d/schedstat", (int)process);
    FILE *file = fopen(name, "r");
    if (file != NULL) {
        if (fscanf(file, "%llu %llu", &ran, &waited) != 2)
            waited = 0;
        fclose(file);
    }
    return waited / 1e9;
}

int main(int argc, char **argv)
{
    int at = 1, status = 0;
    struct rusage used;
    if (argc > at && strcmp(argv[at], "-u") == 0) {
        at++;
        if (unshare(CLONE_NEWUTS) != 0) {
            perror("launch: unshare");
            return 126;
        }
    }
    if (argc < at + 2)
        return 125;
    signal(SIGTERM, pass_on);
    long long began = now();
    child = fork();
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        execvp(argv[at + 1], argv + at + 1);
        perror(argv[at + 1]);
        _exit(127);
    }
    siginfo_t end;
    while (waitid(P_PID, (id_t)child, &end, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        continue;
    long long ended = now();
    double waited = delayed(child);
    waitpid(child, &status, 0);
    getrusage(RUSAGE_CHILDREN, &used);
    FILE *file = fopen(argv[at], "w");
    if (file == NULL)
        return 124;
    fprintf(file,
            "{\"began\": %.9f, \"ended\": %.9f, \"cpu\": %.6f, \"delayed\": %.6f, \"rss\": %ld, \"code\": %d}\n",
            began / 1e9, ended / 1e9, seconds(used.ru_utime) + seconds(used.ru_stime), waited, used.ru_maxrss,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return fclose(file) == 0 ? 0 : 124;
}
