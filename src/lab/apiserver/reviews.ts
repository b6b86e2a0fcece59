import { type JsonObject, record, text } from './objects.ts'

export type User = { readonly user: string; readonly groups: readonly string[] }

/** Kinds that are only ever created, answered and forgotten. */
export const VIRTUAL_RESOURCES = [
  review('authentication.k8s.io', 'tokenreviews', 'TokenReview'),
  review('authentication.k8s.io', 'selfsubjectreviews', 'SelfSubjectReview'),
  review('authorization.k8s.io', 'selfsubjectaccessreviews', 'SelfSubjectAccessReview'),
  review('authorization.k8s.io', 'selfsubjectrulesreviews', 'SelfSubjectRulesReview'),
  review('authorization.k8s.io', 'subjectaccessreviews', 'SubjectAccessReview'),
  {
    ...review('authorization.k8s.io', 'localsubjectaccessreviews', 'LocalSubjectAccessReview'),
    namespaced: true,
  },
]

function review(group: string, plural: string, kind: string) {
  return { group, version: 'v1', plural, kind, namespaced: false }
}

/** The answer to a review. Everybody who has a token may do everything. */
export function answerReview(
  plural: string,
  body: JsonObject,
  user: User,
  tokens: ReadonlyMap<string, User>,
): JsonObject {
  const info = (who: User): JsonObject => ({ username: who.user, uid: '', groups: who.groups })
  switch (plural) {
    case 'tokenreviews': {
      const found = tokens.get(text(record(body['spec'])['token']))
      return {
        ...body,
        status:
          found === undefined
            ? { user: {}, error: 'unknown token' }
            : { authenticated: true, user: info(found) },
      }
    }
    case 'selfsubjectreviews':
      return { ...body, status: { userInfo: info(user) } }
    case 'selfsubjectrulesreviews':
      return {
        ...body,
        status: {
          incomplete: false,
          resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
          nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
        },
      }
    default:
      return { ...body, status: { allowed: true } }
  }
}
