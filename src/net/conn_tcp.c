/* What the kernel knows of a connection's TCP. By itself, because <linux/tcp.h>, which has the
 * newer fields, goes with no other header of that name. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/conn_record.h"

#define NS_PER_US UINT64_C(1000)

void stn_conn_tcp(const struct stn_conn *conn, struct stn_conn_tcp *out) {
    struct tcp_info tcp = {0}; /* an older kernel fills less of it */
    socklen_t bytes = sizeof tcp;
    *out = (struct stn_conn_tcp){0};
    if (conn->fd.fd < 0 || getsockopt(conn->fd.fd, IPPROTO_TCP, TCP_INFO, &tcp, &bytes) < 0) return;
    out->tcp_rtt_ns = tcp.tcpi_rtt * NS_PER_US;
    if (tcp.tcpi_min_rtt != UINT32_MAX) out->tcp_min_rtt_ns = tcp.tcpi_min_rtt * NS_PER_US;
    /* What comes from a virtual device may be many segments in one, counted as one. */
    uint64_t whole = tcp.tcpi_rcv_mss ? tcp.tcpi_bytes_received / tcp.tcpi_rcv_mss : 0;
    out->segments_in = STN_MAX((uint64_t)tcp.tcpi_segs_in, whole);
    out->out_of_order_segments = tcp.tcpi_rcv_ooopack;
    out->retransmitted = tcp.tcpi_total_retrans;
    out->receive_space_bytes = tcp.tcpi_rcv_space;
}
