<?php
$metadata['__DYNAMIC:1__'] = [
    'host' => '__DEFAULT__', 'privatekey' => 'idp.key', 'certificate' => 'idp.pem', 'auth' => 'people',
    // Which of these a person gets is what the service provider asks for.
    'NameIDFormat' => [
        'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
        'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress',
        'urn:oasis:names:tc:SAML:2.0:nameid-format:transient',
    ],
    'authproc' => [
        3 => [
            'class' => 'saml:AttributeNameID', 'attribute' => 'mail',
            'Format' => 'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress',
        ],
        4 => ['class' => 'saml:PersistentNameID', 'attribute' => 'uid'],
    ],
    // mod_auth_mellon and others refuse logout messages without.
    'sign.logout' => true,
];
