/* The three requests of a report, by nothing but the kernel: what the exchange itself costs.
 *
 *     client IMDS_HOST IMDS_PORT WIRESERVER_HOST WIRESERVER_PORT
 *
 * Two connections, as azurelite makes them: instance metadata on the one, goal state and health report on the other.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char answer[1 << 20];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(const char *host, const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    int line = socket(AF_INET, SOCK_STREAM, 0);
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1 || connect(line, (struct sockaddr *)&to, sizeof to) != 0)
        fail("connect");
    return line;
}

/* Send a request, and read its answer whole: head, and as many bytes of body as the head announces. */
static const char *ask(int line, const char *request)
{
    size_t length = strlen(request), have = 0, wanted = 0;
    if (write(line, request, length) != (ssize_t)length)
        fail("write");
    for (;;) {
        ssize_t more = read(line, answer + have, sizeof answer - 1 - have);
        if (more <= 0)
            fail("read");
        have += (size_t)more;
        answer[have] = 0;
        char *body = strstr(answer, "\r\n\r\n"), *announced = strstr(answer, "Content-Length: ");
        if (body != NULL && announced != NULL && announced < body)
            wanted = (size_t)(body + 4 - answer) + strtoul(announced + 16, NULL, 10);
        if (body != NULL && have >= wanted)
            return body + 4;
    }
}

static void element(const char *text, const char *name, char *into, size_t room)
{
    char tag[64];
    snprintf(tag, sizeof tag, "<%s>", name);
    const char *begin = strstr(text, tag), *end = begin ? strchr(begin + strlen(tag), '<') : NULL;
    if (end == NULL)
        fail(name);
    begin += strlen(tag);
    snprintf(into, room, "%.*s", (int)(end - begin), begin);
}

int main(int argc, char **argv)
{
    char incarnation[32], container[128], instance[256], body[1024], request[2048];
    if (argc != 5)
        return 2;
    int imds = dial(argv[1], argv[2]), wireserver = dial(argv[3], argv[4]);
    snprintf(request, sizeof request,
             "GET /metadata/instance?api-version=2021-08-01&format=json HTTP/1.1\r\nHost: %s\r\nMetadata: true\r\n\r\n",
             argv[1]);
    ask(imds, request);
    snprintf(request, sizeof request,
             "GET /machine/?comp=goalstate HTTP/1.1\r\nHost: %s\r\nx-ms-version: 2012-11-30\r\n\r\n", argv[3]);
    const char *state = ask(wireserver, request);
    element(state, "Incarnation", incarnation, sizeof incarnation);
    element(state, "ContainerId", container, sizeof container);
    element(state, "InstanceId", instance, sizeof instance);
    snprintf(body, sizeof body,
             "<Health><GoalStateIncarnation>%s</GoalStateIncarnation><Container><ContainerId>%s</ContainerId>"
             "<RoleInstanceList><Role><InstanceId>%s</InstanceId><Health><State>Ready</State></Health></Role>"
             "</RoleInstanceList></Container></Health>",
             incarnation, container, instance);
    snprintf(request, sizeof request,
             "POST /machine/?comp=health HTTP/1.1\r\nHost: %s\r\nx-ms-version: 2012-11-30\r\n"
             "Content-Type: text/xml;charset=utf-8\r\nx-ms-agent-name: c\r\nContent-Length: %zu\r\n\r\n%s",
             argv[3], strlen(body), body);
    ask(wireserver, request);
    return strncmp(answer, "HTTP/1.1 200", 12) == 0 ? 0 : 1;
}
