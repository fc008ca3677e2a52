#include "decode_aac.h"

#ifdef UTTER_AVCODEC

#include <libavcodec/avcodec.h>
#include <string.h>

// Appends the samples of all frames that are ready.
static int drain(AVCodecContext *context, AVFrame *frame, float *samples, int count, int capacity) {
    while (avcodec_receive_frame(context, frame) == 0) {
        int now = frame->nb_samples < capacity - count ? frame->nb_samples : capacity - count;
        memcpy(samples + count, frame->data[0], (size_t)now * sizeof *samples);
        count += now;
    }
    return count;
}

int decode_aac(const unsigned char *bytes, size_t n, float *samples, int capacity, int *rate_hz) {
    const AVCodec *codec = avcodec_find_decoder(AV_CODEC_ID_AAC);
    AVCodecContext *context = avcodec_alloc_context3(codec);
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    int count = -1;
    if (codec && context && packet && frame && avcodec_open2(context, codec, NULL) == 0) {
        count = 0;
        for (size_t at = 0; at + 7 <= n;) {
            size_t length = (size_t)(bytes[at + 3] & 3) << 11 | (size_t)bytes[at + 4] << 3 | bytes[at + 5] >> 5;
            if (length < 7 || at + length > n || av_new_packet(packet, (int)length) != 0) break;
            memcpy(packet->data, bytes + at, length);
            avcodec_send_packet(context, packet);
            av_packet_unref(packet);
            count = drain(context, frame, samples, count, capacity);
            at += length;
        }
        avcodec_send_packet(context, NULL);
        count = drain(context, frame, samples, count, capacity);
        *rate_hz = context->sample_rate;
    }
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&context);
    return count;
}

#else

int decode_aac(const unsigned char *bytes, size_t n, float *samples, int capacity, int *rate_hz) {
    return (void)bytes, (void)n, (void)samples, (void)capacity, *rate_hz = 0, -1;
}

#endif
