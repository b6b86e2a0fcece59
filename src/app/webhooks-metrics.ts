/** What the webhooks report: to be declared where the process is wired. */
export const WEBHOOK_REQUESTS = 'lodestone_webhook_requests_total'
export const WEBHOOK_CERTIFICATE_END = 'lodestone_webhook_certificate_expiry_timestamp_seconds'

export const WEBHOOK_METRICS = [
  {
    name: WEBHOOK_REQUESTS,
    help: 'Reviews answered by the webhooks; result is allowed, denied, converted or refused (no review, or not answerable)',
    type: 'counter' as const,
    labels: ['kind', 'result'],
  },
  {
    name: WEBHOOK_CERTIFICATE_END,
    help: 'When the serving certificate of the webhooks ends, in seconds since 1970',
    type: 'gauge' as const,
    labels: [],
  },
]
